// What the model calls: each operation over all rows of a step, threaded by the Exec and computed
// by the kernels of one target (scalar, avx2, avx512, ...), chosen once at start-up.
//
// Nothing here allocates after construction beyond scratch growing to its high-water mark, and
// nothing can fail. One Compute belongs to one rank thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/exec.h"
#include "kernels/args.h"

namespace fathom {

// Targets this binary has and this host can run, weakest first ("scalar" always).
std::vector<std::string> runnable_targets();

// One product y = x . w^T of a linear() call.
struct LinearOut {
  MatrixView w;
  float* y;  // [T, w.out]
  int64_t y_stride;
};

// Products of one expert or one attention head. Groups that share x should stand next to each
// other: x is then converted once.
struct GroupedLinear {
  MatrixView w;
  const float* x;  // [x_rows, w.in]
  int64_t x_stride;
  int32_t x_rows;
  const int32_t* index;  // [rows]: which rows of x; null: rows 0 ... rows - 1
  int32_t rows;
  float* y;  // [rows, w.out]
  int64_t y_stride;
};

// In what form matmuls read their input rows.
enum class Activations : uint8_t {
  kFastest,  // what the weight's format and the target make fastest: FP32, BF16 or INT8
  kFloat,    // always FP32: quantisation error comes from the weights alone
};

class Compute {
 public:
  // target: "auto" (the strongest this host runs) or a name; naming one that the host lacks is
  // kUnsupported with the list of those it has.
  static Result<std::unique_ptr<Compute>> create(Exec& exec, std::string_view target,
                                                 Activations activations = Activations::kFastest);
  virtual ~Compute() = default;

  virtual std::string_view target() const = 0;
  virtual Exec& exec() = 0;

  // Every w has the same `in`. x is brought once into the form that the weights' format wants
  // (e.g. BF16 for the BF16 dot product), then shared by all products.
  virtual void linear(const float* x, int64_t x_stride, int32_t rows,
                      std::span<const LinearOut> outs) = 0;
  // Independent products, e.g. experts or heads; any row counts, also 0.
  virtual void linear_grouped(std::span<const GroupedLinear> groups) = 0;

  virtual void embed(const EmbedArgs& args, int32_t rows) = 0;
  virtual void rms_norm(const RmsNormArgs& args, int32_t rows) = 0;
  virtual void add(const AddArgs& args, int32_t rows) = 0;
  virtual void rope(const RopeArgs& args, int32_t rows) = 0;
  virtual void silu_mul(const SiluMulArgs& args, int32_t rows) = 0;
  virtual void gate(const GateArgs& args, int32_t rows) = 0;
  virtual void combine(const CombineArgs& args, int32_t rows) = 0;
  virtual void kv_store(const KvStoreArgs& args, int32_t rows) = 0;
  virtual void attention(const AttentionArgs& args) = 0;
};

}  // namespace fathom
