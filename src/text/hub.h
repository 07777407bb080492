// Where a model named on the command line lies: a folder, the local Hugging Face cache, or the hub.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/result.h"

namespace fathom {

struct HubOptions {
  std::string revision = "main";
  std::filesystem::path download_dir;  // --download-dir; searched first, downloads go there
  // The environment, read at the edge: HF_HUB_CACHE, HF_HOME, HF_ENDPOINT, HF_TOKEN,
  // HF_HUB_OFFLINE.
  std::filesystem::path cache_dir;
  std::string endpoint;
  std::string token;
  bool offline = false;
};

// What a model is wanted for. All but kAll leave its weights where they are.
enum class ModelParts : uint8_t {
  kAll,        // config.json, and model.safetensors or its index with every shard
  kConfig,     // config.json; a tokenizer beside it is fetched too
  kTokenizer,  // tokenizer.json: there need not be a model
};

// file, bytes so far, bytes in all.
using HubProgress = std::function<void(std::string_view, uint64_t, uint64_t)>;

// May block for hours; call it before serving. Several processes may download at once (files are
// locked). `model` is a folder, a GGUF file, or a hub id "org/name". A snapshot in the cache that
// has what `parts` needs (a GGUF file has everything) is used as it is; otherwise what it lacks of
// config, tokenizer and safetensors files is downloaded. kNotFound names where was searched and
// what lacks.
Result<std::filesystem::path> locate_model(const std::string& model, ModelParts parts,
                                           const HubOptions& options, const HubProgress& progress);

}  // namespace fathom
