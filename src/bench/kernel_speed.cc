#include "bench/kernel_speed.h"

#include <fmt/format.h>

#include <algorithm>

#include "device/stopwatch.h"
#include "kernels/ops.h"
#include "tensor/buffer.h"

namespace fathom {
namespace {

// Weights are read from here, another part in every repetition, so that no cache holds them.
constexpr int64_t kPoolBytes = int64_t{512} << 20;

struct BenchFormat {
  const char* name;
  WeightFormat format;
  int32_t block_out;      // 0: no scales
  int32_t block_in;       // 0: the whole row
  ActivationFormat peak;  // whose dot product the fastest kernels use
};
constexpr BenchFormat kFormats[] = {
    {"bf16", WeightFormat::kBF16, 0, 0, ActivationFormat::kBF16},
    {"fp8 128x128", WeightFormat::kF8, 128, 128, ActivationFormat::kBF16},
    {"int8 channel", WeightFormat::kI8, 1, 0, ActivationFormat::kI8},
    {"int8 128x128", WeightFormat::kI8, 128, 128, ActivationFormat::kI8},
    {"int4 g128", WeightFormat::kI4, 1, 128, ActivationFormat::kI8},
    {"int4 g64", WeightFormat::kI4, 1, 64, ActivationFormat::kI8},
    {"nvfp4", WeightFormat::kFp4, 1, 16, ActivationFormat::kI8},
};

class Bench {
 public:
  Bench(Exec& exec, Compute& compute, const MachineLimits& limits, int repetitions,
        const std::function<void(const KernelSpeed&)>& report)
      : exec_(exec),
        compute_(compute),
        limits_(limits),
        repetitions_(repetitions),
        report_(report) {}

  Status allocate() {
    pool_ = TRY(Buffer::allocate(kPoolBytes));
    uint64_t* words = pool_.as<uint64_t>();
    // Small positive numbers in every format.
    exec_.parallel(kPoolBytes / 8, [&](Range r, int) {
      for (int64_t i = r.begin; i < r.end; ++i) {
        words[i] = (static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15u) & 0x3f3f3f3f3f3f3f3fu;
      }
    });
    return {};
  }

  void matmul(const BenchFormat& f, int32_t out, int32_t in, int32_t rows) {
    const bool fp4 = f.format == WeightFormat::kFp4;
    const int32_t block_in = f.block_in == 0 ? in : f.block_in;
    MatrixView w{.out = out, .in = in, .format = f.format};
    w.block_out = std::max(f.block_out, 1);
    w.block_in = block_in;
    w.scale_stride = (in + block_in - 1) / block_in;
    const bool scaled = f.block_out != 0;
    const int64_t scales =
        scaled ? int64_t{(out + w.block_out - 1) / w.block_out} * w.scale_stride : 0;
    const int64_t scale_bytes = fp4 ? scales : 4 * scales;
    std::vector<float> scale(static_cast<size_t>(fp4 ? 0 : scales), 0.01f);
    const std::vector<uint8_t> scale8(static_cast<size_t>(fp4 ? scales : 0), 0x38);
    if (scaled && !fp4) w.scale = scale.data();
    if (fp4) w.scale8 = scale8.data();
    const int64_t bytes = w.bytes();
    const int64_t places = std::max<int64_t>(1, kPoolBytes / bytes);
    std::vector<float> x(static_cast<size_t>(rows) * static_cast<size_t>(in), 0.5f);
    for (size_t i = 0; i < x.size(); ++i) x[i] = 0.25f + static_cast<float>(i % 7);
    std::vector<float> y(static_cast<size_t>(rows) * static_cast<size_t>(out));
    const LinearOut product[] = {{w, y.data(), out}};
    LinearOut here = product[0];
    const bool reads = rows <= 2;
    // Few rows: several matrices behind each other, as in a step.
    const int64_t batch =
        reads ? std::min<int64_t>(places, std::max<int64_t>(1, (96 << 20) / bytes)) : 1;
    int64_t place = next_byte_ / bytes % places;
    const double seconds = best([&] {
      for (int64_t i = 0; i < batch; ++i, place = (place + 1) % places) {
        here.w.data = pool_.data() + place * bytes;
        compute_.linear(x.data(), in, rows, {&here, 1});
      }
    });
    next_byte_ = place * bytes;
    KernelSpeed speed{.kernel = "matmul",
                      .shape = fmt::format("{}x{}x{}", rows, out, in),
                      .format = f.name,
                      .seconds = seconds / static_cast<double>(batch)};
    if (reads) {
      set(speed, static_cast<double>((bytes + scale_bytes) * batch) / seconds,
          limits_.read_bytes_per_second, "GB/s");
    } else {
      set(speed, 2.0 * rows * out * in / seconds, peak(f.peak), "GFLOPS");
    }
    report_(speed);
  }

  // One decode step of a sequence of `positions` tokens.
  void attention(int32_t heads, int32_t positions, int32_t rows) {
    constexpr int32_t kLatent = 512, kRope = 64, kWidth = kLatent + kRope;
    std::vector<int32_t> slots(static_cast<size_t>(positions));
    for (int32_t i = 0; i < positions; ++i) slots[static_cast<size_t>(i)] = i;
    const auto queries = static_cast<size_t>(rows * heads);
    const std::vector<float> latent(queries * kLatent, 0.01f);
    const std::vector<float> rope(queries * kRope, 0.01f);
    std::vector<float> out(queries * kLatent);
    const SequenceRows sequence{0, rows, positions - rows, slots.data()};
    AttentionArgs a{.kv = {pool_.data(), KvFormat::kBF16, kLatent, kRope},
                    .sequences = &sequence,
                    .sequence_count = 1,
                    .heads = heads,
                    .scale = 0.07f,
                    .q_latent = latent.data(),
                    .q_rope = rope.data(),
                    .q_rope_row_stride = int64_t{heads} * kRope,
                    .q_rope_head_stride = kRope,
                    .out = out.data()};
    const int64_t layers = std::max<int64_t>(1, kPoolBytes / (int64_t{positions} * kWidth * 2));
    int64_t layer = 0;
    const double seconds = best([&] {
      a.kv.data = pool_.data() + layer * positions * kWidth * 2;
      layer = (layer + 1) % layers;
      compute_.attention(a);
    });
    KernelSpeed speed{.kernel = "attention",
                      .shape = fmt::format("{} rows x {} heads at {}", rows, heads, positions),
                      .format = "bf16",
                      .seconds = seconds};
    const double seen = positions - (rows - 1) / 2.0;
    set(speed, 2.0 * rows * heads * seen * (kLatent + kWidth) / seconds,
        peak(ActivationFormat::kBF16), "GFLOPS");
    report_(speed);
  }

 private:
  template <class F>
  double best(F&& run) {
    run();  // scratch grows
    double best = 1e300;
    for (int i = 0; i < repetitions_; ++i) {
      const double start = seconds_for(exec_);
      run();
      best = std::min(best, seconds_for(exec_) - start);
    }
    return best;
  }

  // The fastest multiply-adds that this target could use, but for AMX: those of AVX-512.
  double peak(ActivationFormat format) const {
    const std::string_view target = compute_.target();
    const bool bf16 = target == "avx512_bf16" || target.starts_with("amx");
    const bool vnni = bf16 || target == "avx512_vnni";
    if (format == ActivationFormat::kI8 && vnni) return limits_.int8_ops_per_second;
    if (format == ActivationFormat::kBF16 && bf16) return limits_.bf16_flops_per_second;
    return limits_.fma_flops_per_second;
  }

  static void set(KernelSpeed& speed, double achieved, double limit, const char* unit) {
    speed.achieved = achieved / 1e9;
    speed.limit = limit / 1e9;
    speed.unit = unit;
  }

  Exec& exec_;
  Compute& compute_;
  const MachineLimits& limits_;
  int repetitions_;
  const std::function<void(const KernelSpeed&)>& report_;
  Buffer pool_;
  int64_t next_byte_ = 0;  // where the next matrix begins: not where the last one lay
};

}  // namespace

Status measure_kernels(Exec& exec, Compute& compute, const MachineLimits& limits, bool quick,
                       const std::function<void(const KernelSpeed&)>& report) {
  Bench bench(exec, compute, limits, quick ? 3 : 7, report);
  TRY(bench.allocate());
  struct Shape {
    int32_t out, in;
  };
  const std::vector<Shape> shapes =
      quick ? std::vector<Shape>{{2048, 7168}, {1024, 2048}}
            : std::vector<Shape>{
                  {2048, 7168}, {7168, 2048}, {1024, 2048}, {2048, 1024}, {7168, 16384}};
  const std::vector<int32_t> rows = quick ? std::vector<int32_t>{1, 4, 8, 16, 512}
                                          : std::vector<int32_t>{1, 2, 4, 8, 32, 128, 512};
  for (const BenchFormat& format : kFormats) {
    for (const Shape& shape : shapes) {
      for (const int32_t count : rows) bench.matmul(format, shape.out, shape.in, count);
    }
  }
  for (const int32_t heads : {16, 128}) {
    for (const int32_t positions : {128, 1024, 4096}) bench.attention(heads, positions, 1);
    bench.attention(heads, 2048, heads == 16 ? 128 : 16);
  }
  return {};
}

}  // namespace fathom
