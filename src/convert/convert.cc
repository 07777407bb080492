#include "convert/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>

#include "base/json.h"
#include "convert/calibrate.h"
#include "convert/output_folder.h"
#include "convert/shard_writer.h"
#include "tensor/float_formats.h"
#include "weights/formats/format.h"
#include "weights/quantize.h"

namespace fathom::convert {
namespace {

namespace fs = std::filesystem;

// What is made together: a linear layer's tensors, or one tensor that is copied.
struct Piece {
  std::vector<OutputTensor> tensors;
  const Linear* linear = nullptr;
  const Target* target = nullptr;  // of `linear`
  std::string copied;              // the tensor, where there is no linear
  int64_t bytes() const {
    int64_t sum = 0;
    for (const OutputTensor& tensor : tensors) sum += tensor.bytes();
    return sum;
  }
};

struct Plan {
  std::vector<Piece> pieces;
  std::vector<std::string> kept;  // linear layers that are not quantised
};

// Number of a tensor's layer; those outside of layers come behind all.
int64_t layer_of(const std::string& name) {
  constexpr std::string_view kPrefix = "model.layers.";
  if (!name.starts_with(kPrefix)) return std::numeric_limits<int64_t>::max();
  return std::strtoll(name.c_str() + kPrefix.size(), nullptr, 10);
}

Piece copy_of(const Source& source, const std::string& name, std::string new_name) {
  const StoredTensor& tensor = *source.checkpoint->find(name);
  return {.tensors = {{std::move(new_name), tensor.dtype, tensor.shape}}, .copied = name};
}

// "model.layers.61.x" -> "model.layers.0.x" for the first MTP layer.
std::string draft_name(const Source& source, const std::string& name) {
  const int64_t layer = layer_of(name);
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  return fmt::format("model.layers.{}.{}", layer - source.config.layers,
                     name.substr(prefix.size()));
}

Status plan_draft_model(const Source& source, Plan& plan) {
  const int64_t first = source.config.layers;
  for (const auto& [name, tensor] : source.checkpoint->tensors()) {
    const int64_t layer = layer_of(name);
    if (layer < first || layer >= first + source.config.mtp_layers) continue;
    plan.pieces.push_back(copy_of(source, name, draft_name(source, name)));
  }
  if (plan.pieces.empty()) {
    return invalid("{} has no multi-token-prediction layer (model.layers.{}); nothing to extract",
                   source.files->location(), first);
  }
  return {};
}

Result<Plan> make_plan(const Source& source, const Options& o) {
  Plan plan;
  if (o.extract_mtp) {
    TRY(plan_draft_model(source, plan));
    return plan;
  }
  const Target& bf16 = *target_named("bf16");
  const auto add = [&](const Linear& linear, const Target& target) {
    plan.pieces.push_back({.tensors = target.tensors(linear, o.format),
                           .linear = &linear,
                           .target = &target,
                           .copied = {}});
  };
  for (const Linear& linear : source.linears) {
    const bool taken = o.target->takes(linear, o.format);
    if (!taken) plan.kept.push_back(linear.prefix);
    add(linear, taken ? *o.target : bf16);
  }
  for (const Linear& linear : source.packed) add(linear, bf16);
  for (const std::string& name : source.others) plan.pieces.push_back(copy_of(source, name, name));
  std::ranges::stable_sort(plan.pieces, {},
                           [](const Piece& piece) { return layer_of(piece.tensors[0].name); });
  return plan;
}

// Consecutive pieces that make one file.
std::vector<std::span<const Piece>> cut_into_shards(const std::vector<Piece>& pieces,
                                                    int64_t most) {
  std::vector<std::span<const Piece>> shards;
  size_t begin = 0;
  int64_t bytes = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > begin && bytes + pieces[i].bytes() > most) {
      shards.push_back(std::span(pieces).subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += pieces[i].bytes();
  }
  shards.push_back(std::span(pieces).subspan(begin));
  return shards;
}

std::vector<OutputTensor> tensors_of(std::span<const Piece> pieces) {
  std::vector<OutputTensor> all;
  for (const Piece& piece : pieces)
    all.insert(all.end(), piece.tensors.begin(), piece.tensors.end());
  return all;
}

Bytes encode_floats(std::span<const float> values, DType dtype) {
  Bytes out(values.size() * size_of(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = dtype == DType::kF16 ? float_to_f16(values[i]) : float_to_bf16(values[i]);
    if (dtype == DType::kF32) {
      std::memcpy(out.data() + 4 * i, &values[i], 4);
    } else {
      std::memcpy(out.data() + 2 * i, &half, 2);
    }
  }
  return out;
}

class Conversion {
 public:
  Conversion(const Source& source, const Options& options, const Calibration& calibration,
             Exec& exec)
      : source_(source), options_(options), calibration_(calibration), exec_(exec) {}

  Status write(const Piece& piece, ShardWriter& writer) {
    return piece.linear ? write_linear(piece, writer) : write_copy(piece.copied, writer);
  }

 private:
  Status write_copy(const std::string& name, ShardWriter& writer) {
    constexpr size_t kChunk = 64 << 20;
    StoredTensor rest = *source_.checkpoint->find(name);
    if (rest.dtype == DType::kBlocks) {
      return fail(ErrorCode::kUnsupported, "{}: {} is {}, which has no counterpart in safetensors",
                  rest.file->path, name, rest.describe());
    }
    if (const ChannelScales* scales = calibration_of(name))
      return write_folded(name, *scales, writer);
    while (!rest.bytes.empty()) {
      StoredTensor chunk = rest;
      chunk.bytes = rest.bytes.first(std::min(kChunk, rest.bytes.size()));
      TRY(writer.write(chunk.bytes));
      release_pages(chunk);
      rest.bytes = rest.bytes.subspan(chunk.bytes.size());
    }
    return {};
  }

  // The scales of a norm, or of the norm before a router.
  const ChannelScales* calibration_of(const std::string& name) const {
    auto found = calibration_.find(name);
    if (found == calibration_.end()) {
      found = calibration_.find(norm_before(name.substr(0, name.rfind('.'))));
      if (found == calibration_.end() || !name.ends_with(".weight")) return nullptr;
    }
    return &found->second;
  }

  // A norm divided by the scales, or a router multiplied with them: exact, as they are powers of 2.
  Status write_folded(const std::string& name, const ChannelScales& scales, ShardWriter& writer) {
    const StoredTensor& tensor = *source_.checkpoint->find(name);
    std::vector<float> values = TRY(to_floats(tensor, name));
    const size_t columns = scales.scale.size();
    for (size_t i = 0; i < values.size(); ++i) {
      const float scale = scales.scale[i % columns];
      values[i] = tensor.shape.size() == 1 ? values[i] / scale : values[i] * scale;
    }
    return writer.write(encode_floats(values, tensor.dtype));
  }

  Status write_linear(const Piece& piece, ShardWriter& writer) {
    const Linear& linear = *piece.linear;
    const Matrix matrix = TRY(load_linear(source_, linear, exec_));
    if (!is_finite(matrix.view, exec_)) {
      return invalid("{}.weight: holds NaN or an infinity; the file is damaged", linear.prefix);
    }
    LayerInput layer{.weights = matrix.view, .scales = {}};
    if (!linear.mtp) {
      const auto found = calibration_.find(norm_before(linear.prefix));
      if (found != calibration_.end()) {
        layer.scales.in = found->second.scale.data();
        layer.scales.importance = found->second.importance.data();
      }
    }
    if (piece.target->pairs) layer.shared_largest = TRY(largest_of_pair(linear, matrix));
    const std::vector<Bytes> parts = TRY(piece.target->encode(layer, options_.format, exec_));
    for (const Bytes& part : parts) TRY(writer.write(part));
    source_.checkpoint->release(linear.prefix);
    return {};
  }

  // gate_proj and up_proj of an MLP are computed as one matrix elsewhere and must share a scale.
  Result<float> largest_of_pair(const Linear& linear, const Matrix& matrix) {
    const float own = largest_magnitude(matrix.view, exec_);
    Linear other = linear;
    const auto swap_suffix = [&](std::string_view from, std::string_view to) {
      if (!linear.prefix.ends_with(from)) return false;
      other.prefix.replace(linear.prefix.size() - from.size(), from.size(), to);
      return true;
    };
    if (!swap_suffix(".gate_proj", ".up_proj") && !swap_suffix(".up_proj", ".gate_proj"))
      return own;
    const Matrix partner = TRY(load_linear(source_, other, exec_));
    return std::max(own, largest_magnitude(partner.view, exec_));
  }

  const Source& source_;
  const Options& options_;
  const Calibration& calibration_;
  Exec& exec_;
};

Status check_options(const Options& o) {
  if (!o.calibration.empty() && (!o.target || o.target->name != "int4")) {
    return invalid("--calibration is for --to int4");
  }
  std::error_code error;
  const fs::path in = fs::weakly_canonical(o.in, error);
  const fs::path out = fs::weakly_canonical(o.out, error);
  if (in == out || in.parent_path() == out) {
    return invalid("the output {} is where the source is; a checkpoint is never changed in place",
                   o.out.string());
  }
  return {};
}

}  // namespace

Result<Summary> convert(const Options& o, const std::function<void(const Progress&)>& report) {
  TRY(check_options(o));
  const auto exec = Exec::create({.threads = o.threads, .cores = {}});
  const Source source = TRY(open_source(o.in));
  const Plan plan = TRY(make_plan(source, o));
  const auto shards = cut_into_shards(plan.pieces, o.shard_bytes);

  Summary summary{.shards = static_cast<int32_t>(shards.size())};
  for (const Piece& piece : plan.pieces) summary.bytes_out += piece.bytes();
  for (const auto& [name, tensor] : source.checkpoint->tensors()) {
    summary.bytes_in += static_cast<int64_t>(tensor.bytes.size());
  }
  OutputFolder folder = TRY(OutputFolder::open(source, o, summary.bytes_out));

  Calibration calibration;
  if (!o.calibration.empty()) {
    calibration = TRY(calibrate(source, o.calibration, o.format, *exec));
  }
  Conversion conversion(source, o, calibration, *exec);
  Progress progress{.bytes_all = summary.bytes_out, .shards = summary.shards};
  std::map<std::string, std::string> weight_map;
  for (const auto& pieces : shards) {
    ++progress.shard;
    const std::vector<OutputTensor> tensors = tensors_of(pieces);
    const std::string name = shard_name(progress.shard, summary.shards);
    for (const OutputTensor& tensor : tensors) weight_map[tensor.name] = name;
    if (folder.has_shard(name, tensors)) {
      ++summary.resumed_shards;
      for (const Piece& piece : pieces) progress.bytes_done += piece.bytes();
      report(progress);
      continue;
    }
    ShardWriter writer = TRY(ShardWriter::create(o.out / name, tensors));
    for (const Piece& piece : pieces) {
      TRY(conversion.write(piece, writer));
      progress.bytes_done += piece.bytes();
      report(progress);
    }
    TRY(writer.finish());
  }
  TRY(folder.complete(source, o, plan.kept, weight_map, summary.bytes_out));
  return summary;
}

}  // namespace fathom::convert
