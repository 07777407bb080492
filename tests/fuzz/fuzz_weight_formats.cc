// The adapter of every weight format over layers of any tensors: whatever their names, types, shapes
// and numbers, an error or a matrix that is as large as announced and can be read.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdlib>

#include "weights/formats/format.h"
#include "weights/test_files.h"

namespace {

using namespace fathom;

void add_tensor(FuzzedDataProvider& data, const std::string& name, SafetensorsBuilder& builder) {
  constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF8E4M3, DType::kI64,
                              DType::kI32, DType::kI8,  DType::kU8,   DType::kF8E8M0};
  const DType dtype = data.PickValueInArray(kTypes);
  std::vector<int64_t> shape(data.ConsumeIntegralInRange<size_t>(0, 3));
  int64_t bytes = static_cast<int64_t>(size_of(dtype));
  for (int64_t& size : shape) {
    size = data.ConsumeIntegralInRange<int64_t>(0, 40);
    bytes *= size;
  }
  // A short pattern, repeated: one code everywhere is as good as many.
  std::string pattern = data.ConsumeBytesAsString(data.ConsumeIntegralInRange<size_t>(0, 8));
  if (pattern.empty()) pattern = '\0';
  std::string content;
  while (content.size() < static_cast<size_t>(bytes)) content += pattern;
  builder.add(name, dtype, shape, content.substr(0, static_cast<size_t>(bytes)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const auto exec = Exec::create({.threads = 1, .cores = {}});
  FuzzedDataProvider data(bytes, size);
  const auto out = data.ConsumeIntegralInRange<int32_t>(1, 40);
  const auto in = data.ConsumeIntegralInRange<int32_t>(1, 40);
  QuantConfig config;
  config.block_out = data.ConsumeIntegralInRange<int32_t>(1, 64);
  config.block_in = 32 * data.ConsumeIntegralInRange<int32_t>(1, 4);
  config.group_size = 16 * data.ConsumeIntegralInRange<int32_t>(0, 4);
  config.zero_points = data.ConsumeBool();
  config.zeros_minus_one = data.ConsumeBool();
  SafetensorsBuilder builder;
  for (const std::string_view part : linear_parts()) {
    if (data.ConsumeBool()) add_tensor(data, "x." + std::string(part), builder);
  }
  MemoryFiles memory;
  memory.put("model.safetensors", builder.build(data.ConsumeIntegralInRange<size_t>(0, 3)));
  const auto checkpoint = Checkpoint::open(*memory.files());
  if (!checkpoint) std::abort();  // the builder writes right files

  const std::string prefix = "x";
  const Format* format = detect_format(**checkpoint, prefix);
  if (!format) return 0;
  const StoredLinear linear{**checkpoint, prefix, out, in, config};
  const auto described = format->describe(linear);
  const auto matrix = load_linear(*format, linear, *exec);
  if (!matrix) return 0;
  if (!described || matrix_bytes(*described) != matrix_bytes(matrix->view)) std::abort();
  std::vector<float> values(static_cast<size_t>(out) * static_cast<size_t>(in));
  dequantize(matrix->view, 0, out, values.data());
  return 0;
}
