// The folder that a conversion writes: marked as unfinished from the first file to the last.
#pragma once

#include <map>
#include <span>
#include <string>

#include "convert/convert.h"

namespace fathom::convert {

// "model.safetensors", or "model-00002-of-00005.safetensors".
std::string shard_name(int32_t number, int32_t count);

class OutputFolder {
 public:
  // Makes the folder, or finds the same conversion unfinished in it. Anything else in it is an
  // error, as is too little room on the disk.
  static Result<OutputFolder> open(const Source& source, const Options& options, int64_t bytes);

  // Is this shard there, with these tensors? (It got its name only when it was whole.)
  bool has_shard(const std::string& name, std::span<const OutputTensor> tensors) const;

  // Tokenizer and other small files, index, config.json; then the mark goes.
  Status complete(const Source& source, const Options& options, std::span<const std::string> kept,
                  const std::map<std::string, std::string>& weight_map, int64_t bytes);

 private:
  explicit OutputFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace fathom::convert
