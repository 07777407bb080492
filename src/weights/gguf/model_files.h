// A GGUF model shown as the Hugging Face folder that it was made from: config.json,
// generation_config.json, tokenizer.json and tokenizer_config.json are written from its metadata,
// and Checkpoint reads its tensors. So everything above takes both alike.
#pragma once

#include <filesystem>
#include <memory>

#include "base/open_folder.h"
#include "weights/gguf/gguf.h"

namespace fathom {

// The file that marks the output of an unfinished `fathom convert`.
inline constexpr const char* kConversionMark = "unfinished_conversion.json";

// The files of a model: a folder in Hugging Face format, a GGUF file (any part of a split one), or
// a folder that holds one GGUF model. In the last case files beside the GGUF (a tokenizer.json,
// say) are preferred to what its metadata says. Errors name the file, key and remedy.
Result<std::shared_ptr<const FileSet>> open_model_files(
    const std::filesystem::path& path, FileAccess access = FileAccess::kMap);

// config.json of a model of architecture deepseek2, in llama.cpp's conventions.
Result<std::string> config_json_of(const GgufFile& model);
// generation_config.json.
std::string generation_json_of(const GgufFile& model);
// tokenizer.json and tokenizer_config.json.
Result<std::string> tokenizer_json_of(const GgufFile& model);
std::string tokenizer_config_json_of(const GgufFile& model);

}  // namespace fathom
