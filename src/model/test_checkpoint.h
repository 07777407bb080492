// Checkpoints that tests change. Test support.
#pragma once

#include "model/test_rig.h"
#include "tensor/float_formats.h"
#include "weights/formats/format.h"
#include "weights/test_files.h"

namespace fathom {

// A golden checkpoint in memory, whose tensors and config tests may change.
struct EditableCheckpoint {
  struct Tensor {
    DType dtype;
    std::vector<int64_t> shape;
    std::string bytes;
  };
  Json config;
  std::map<std::string, Tensor> tensors;
  MemoryFiles memory;

  explicit EditableCheckpoint(const std::string& name) {
    const auto files = FileSet::folder(golden_folder(name)).value();
    config = Json::parse(files->open("config.json").value().text());
    const auto checkpoint = Checkpoint::open(*files).value();
    for (const auto& [tensor_name, tensor] : checkpoint->tensors()) {
      tensors[tensor_name] = {
          tensor.dtype, tensor.shape,
          std::string(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size())};
    }
  }
  // Every BF16 tensor in another type.
  void convert(DType dtype) {
    for (auto& [name, tensor] : tensors) {
      if (tensor.dtype != DType::kBF16) continue;
      std::string bytes;
      for (size_t i = 0; i < tensor.bytes.size(); i += 2) {
        uint16_t code;
        std::memcpy(&code, tensor.bytes.data() + i, 2);
        const float value = bf16_to_float(code);
        const uint16_t half = float_to_f16(value);
        bytes.append(dtype == DType::kF32 ? reinterpret_cast<const char*>(&value)
                                          : reinterpret_cast<const char*>(&half),
                     size_of(dtype));
      }
      tensor = {dtype, tensor.shape, std::move(bytes)};
    }
  }
  std::shared_ptr<const FileSet> files(size_t shift = 0) {
    SafetensorsBuilder builder;
    for (const auto& [name, t] : tensors) builder.add(name, t.dtype, t.shape, t.bytes);
    memory.put("model.safetensors", builder.build(shift));
    memory.put("config.json", config.dump());
    return memory.files();
  }
};

// Loads with the default target; the error's message, or "no error".
inline std::string load_error(const FileSet& files, const LoadOptions& options = {}) {
  const auto exec = Exec::create({.threads = 1, .cores = {}});
  const auto compute = Compute::create(*exec, "auto").value();
  const auto config = read_model_config(files, "");
  if (!config) return config.error().message;
  const auto model = load_model(*config, files, options, *compute);
  return model ? "no error" : model.error().message;
}

}  // namespace fathom
