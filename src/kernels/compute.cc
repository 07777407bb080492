#include "kernels/compute.h"

#include <algorithm>

#include "base/check.h"
#include "kernels/attention.h"
#include "kernels/targets.h"

namespace fathom {
namespace {

// One core converts this many bytes in about the time of a fork.
constexpr int64_t kNotWorthAFork = 32 << 10;

class CpuCompute final : public Compute {
 public:
  CpuCompute(Exec& exec, const Ops& ops, Activations activations)
      : exec_(exec),
        ops_(ops),
        activations_(activations),
        attention_(exec, ops_, activations == Activations::kFloat) {
    scratch_.resize(static_cast<size_t>(exec.threads()));
  }

  std::string_view target() const override { return ops_.target; }
  Exec& exec() override { return exec_; }

  void linear(const float* x, int64_t x_stride, int32_t rows,
              std::span<const LinearOut> outs) override {
    if (rows == 0) return;
    clear();
    for (const LinearOut& out : outs) {
      add_product({out.w, x, x_stride, rows, nullptr, rows, out.y, out.y_stride});
    }
    run_products();
  }

  void linear_grouped(std::span<const GroupedLinear> groups) override {
    clear();
    for (const GroupedLinear& group : groups) {
      if (group.rows > 0) add_product(group);
    }
    if (!products_.empty()) run_products();
  }

  void embed(const EmbedArgs& a, int32_t rows) override { each_row(ops_.embed, a, rows); }
  void rms_norm(const RmsNormArgs& a, int32_t rows) override { each_row(ops_.rms_norm, a, rows); }
  void add(const AddArgs& a, int32_t rows) override { each_row(ops_.add, a, rows); }
  void rope(const RopeArgs& a, int32_t rows) override { each_row(ops_.rope, a, rows); }
  void silu_mul(const SiluMulArgs& a, int32_t rows) override { each_row(ops_.silu_mul, a, rows); }
  void gate(const GateArgs& a, int32_t rows) override { each_row(ops_.gate, a, rows); }
  void combine(const CombineArgs& a, int32_t rows) override { each_row(ops_.combine, a, rows); }
  void kv_store(const KvStoreArgs& a, int32_t rows) override { each_row(ops_.kv_store, a, rows); }
  void attention(const AttentionArgs& a) override { attention_.run(a); }

 private:
  // Rows that some product reads, in the form its kernel wants.
  struct Input {
    const float* x;
    int64_t x_stride;
    int32_t rows;
    ActivationFormat format;
    QuantLayout layout;    // kI8; `in` for all
    int32_t block;         // kF8Order: columns that share a scale
    const int32_t* order;  // MatrixView::order
    int64_t offset = 0;    // into converted_, bytes

    int64_t stride() const {  // as MatmulArgs::x_stride
      if (format == ActivationFormat::kI8) return quant_row_bytes(layout);
      return (layout.in + 31) / 32 * 32;
    }
    int64_t row_bytes() const {
      return stride() * (format == ActivationFormat::kI8     ? 1
                         : format == ActivationFormat::kBF16 ? 2
                                                             : 4);
    }
  };

  template <class Args>
  void each_row(void (*kernel)(const Args&, int64_t, int64_t), const Args& args, int32_t rows) {
    exec_.parallel(rows, [&](Range r, int) { kernel(args, r.begin, r.end); });
  }

  const MatmulKernel& kernel_of(const MatrixView& w) const {
    return matmul_kernel(ops_, w, activations_ == Activations::kFastest);
  }

  void clear() {
    inputs_.clear();
    products_.clear();
    input_of_.clear();
  }

  void add_product(const GroupedLinear& g) {
    products_.push_back({.w = g.w,
                         .x = g.x,
                         .x_stride = g.x_stride,
                         .index = g.index,
                         .rows = g.rows,
                         .y = g.y,
                         .y_stride = g.y_stride});
    input_of_.push_back(input_for(g));
  }

  // Index of the converted rows that this product reads; -1: it reads FP32 rows as they are.
  int32_t input_for(const GroupedLinear& g) {
    const ActivationFormat format = kernel_of(g.w).activation;
    if (format == ActivationFormat::kF32 && g.w.order == nullptr) return -1;
    const Input wanted{
        .x = g.x,
        .x_stride = g.x_stride,
        .rows = g.x_rows,
        .format = format,
        .layout = format == ActivationFormat::kI8 ? quant_layout(g.w) : QuantLayout{.in = g.w.in},
        .block = format == ActivationFormat::kF8Order ? g.w.block_in : 0,
        .order = g.w.order};
    for (size_t i = inputs_.size(); i-- > 0;) {
      Input& input = inputs_[i];
      if (input.x != g.x) break;  // those that share x stand next to each other
      if (input.x_stride == g.x_stride && input.format == format && input.order == wanted.order &&
          input.layout == wanted.layout && input.block == wanted.block) {
        input.rows = std::max(input.rows, g.x_rows);
        return static_cast<int32_t>(i);
      }
    }
    inputs_.push_back(wanted);
    return static_cast<int32_t>(inputs_.size()) - 1;
  }

  void convert_inputs() {
    if (inputs_.empty()) return;
    int64_t bytes = 0;
    int64_t rows = 0;
    int64_t widest = 0;  // of those that need to be put in order first
    for (Input& input : inputs_) {
      input.offset = bytes;
      bytes += input.rows * input.row_bytes();
      rows += input.rows;
      if (input.order != nullptr) widest = std::max<int64_t>(widest, input.layout.in);
    }
    grow(converted_, bytes);
    if (widest > 0) {
      for (Buffer& scratch : scratch_) grow(scratch, widest * 4);
    }
    if (bytes <= kNotWorthAFork) {
      // On this thread, but as a task: with the same treatment of denormals.
      exec_.parallel(1, [&](Range, int thread) {
        for (const Input& input : inputs_) convert(input, 0, input.rows, thread);
      });
      return;
    }
    exec_.parallel(rows, [&](Range r, int thread) {
      int64_t first = 0;
      for (const Input& input : inputs_) {
        const int64_t begin = std::max(r.begin, first);
        const int64_t end = std::min(r.end, first + input.rows);
        if (begin < end) convert(input, begin - first, end - first, thread);
        first += input.rows;
      }
    });
  }

  void convert(const Input& input, int64_t begin, int64_t end, int thread) {
    if (input.order == nullptr) {
      convert_rows(input, input.x, input.x_stride, converted_.data() + input.offset, begin, end);
      return;
    }
    auto* ordered = reinterpret_cast<float*>(scratch_[static_cast<size_t>(thread)].data());
    for (int64_t t = begin; t < end; ++t) {
      const float* x = input.x + t * input.x_stride;
      for (int32_t k = 0; k < input.layout.in; ++k) ordered[k] = x[input.order[k]];
      convert_rows(input, ordered, 0, converted_.data() + input.offset + t * input.row_bytes(), 0,
                   1);
    }
  }

  void convert_rows(const Input& input, const float* x, int64_t x_stride, std::byte* to,
                    int64_t begin, int64_t end) {
    if (input.format == ActivationFormat::kI8) {
      ops_.quantize(input.layout, x, x_stride, to, input.stride(), begin, end);
    } else if (input.format == ActivationFormat::kBF16) {
      ops_.convert_bf16(x, x_stride, to, input.stride(), input.layout.in, begin, end);
    } else if (input.format == ActivationFormat::kF8Order) {
      ops_.order_f8(x, x_stride, reinterpret_cast<float*>(to), input.stride(), input.layout.in,
                    input.block, begin, end);
    } else {
      for (int64_t t = begin; t < end; ++t) {
        std::copy_n(x + t * x_stride, input.layout.in,
                    reinterpret_cast<float*>(to) + t * input.stride());
      }
    }
  }

  void run_products() {
    convert_inputs();
    int64_t units = 0;
    int64_t widest = 0;
    first_unit_.clear();
    for (size_t i = 0; i < products_.size(); ++i) {
      MatmulArgs& product = products_[i];
      if (input_of_[i] >= 0) {
        const Input& input = inputs_[static_cast<size_t>(input_of_[i])];
        product.x = converted_.data() + input.offset;
        product.x_stride = input.stride();
      }
      first_unit_.push_back(units);
      units += (product.w.out + kMatmulPanelRows - 1) / kMatmulPanelRows;
      widest = std::max<int64_t>(widest, product.w.in);
    }
    for (Buffer& scratch : scratch_) grow(scratch, matmul_scratch_bytes(widest));

    auto body = [&](Range r, int thread) { run_units(r, thread); };
    // One matrix: contiguous equal shares, so that a core streams its own part of the weight.
    // Experts have uneven row counts: hand out small pieces.
    const bool even = std::all_of(products_.begin(), products_.end(),
                                  [&](const MatmulArgs& p) { return p.rows == products_[0].rows; });
    if (even) {
      exec_.parallel(units, body);
    } else {
      // A kernel prepares its activation rows once per piece: pieces are large while there are
      // many.
      const int64_t grain = std::clamp<int64_t>(units / (8 * exec_.threads()), 4, 16);
      exec_.parallel_dynamic(units, grain, body);
    }
  }

  void run_units(Range units, int thread) {
    size_t i =
        static_cast<size_t>(std::upper_bound(first_unit_.begin(), first_unit_.end(), units.begin) -
                            first_unit_.begin()) -
        1;
    for (int64_t unit = units.begin; unit < units.end; ++i) {
      const MatmulArgs& product = products_[i];
      const int64_t last =
          first_unit_[i] + (product.w.out + kMatmulPanelRows - 1) / kMatmulPanelRows;
      const int64_t stop = std::min(units.end, last);
      const int64_t begin = (unit - first_unit_[i]) * kMatmulPanelRows;
      const int64_t end =
          std::min<int64_t>((stop - first_unit_[i]) * kMatmulPanelRows, product.w.out);
      run_matmul(kernel_of(product.w), product, begin, end,
                 scratch_[static_cast<size_t>(thread)].data());
      unit = stop;
    }
  }

  // To the high-water mark; nothing in a steady state.
  static void grow(Buffer& buffer, int64_t bytes) {
    if (static_cast<int64_t>(buffer.size()) >= bytes) return;
    Result<Buffer> larger = Buffer::allocate(static_cast<size_t>(bytes + bytes / 4));
    CHECK(larger.has_value());
    buffer = std::move(*larger);
  }

  Exec& exec_;
  Ops ops_;
  Activations activations_;
  Attention attention_;
  std::vector<Input> inputs_;
  std::vector<MatmulArgs> products_;
  std::vector<int32_t> input_of_;  // per product
  std::vector<int64_t> first_unit_;
  Buffer converted_;
  std::vector<Buffer> scratch_;  // per thread
};

}  // namespace

Result<std::unique_ptr<Compute>> Compute::create(Exec& exec, std::string_view target,
                                                 Activations activations) {
  const Ops ops = TRY(ops_for(target));
  return std::make_unique<CpuCompute>(exec, ops, activations);
}

}  // namespace fathom
