// The table of kernels of one target. A kernel computes units [begin, end) of its operation and
// nothing else: no threads, no allocation, no errors. Any split of the units gives the same bits.
//
// Files compiled with ISA flags include this, so it holds plain data and static functions only.
#pragma once

#include <cstdint>

#include "kernels/args.h"
#include "kernels/quantized_row.h"

namespace fathom {

// The form in which a matmul wants its input rows.
enum class ActivationFormat : uint8_t {
  kF32,
  kBF16,
  kI8,       // quantized_row.h
  kF8Order,  // FP32, in the order and the unit of Ops::order_f8
};

struct MatmulArgs {
  MatrixView w;
  const void* x;         // [.., w.in] in the kernel's activation format
  int64_t x_stride;      // elements; kI8: bytes
  const int32_t* index;  // row r of the product reads row index[r] of x; null: row r
  int32_t rows;
  float* y;  // [rows, w.out]
  int64_t y_stride;
};

struct MatmulKernel {
  ActivationFormat activation = ActivationFormat::kF32;
  // Units are rows of w. scratch: matmul_scratch_bytes(), private to the calling thread.
  void (*run)(const MatmulArgs& args, int64_t begin, int64_t end, void* scratch) = nullptr;
  // Of products with at least this many rows another one may be faster. It gives the same bits.
  int32_t many = 0x7fffffff;
  void (*run_many)(const MatmulArgs& args, int64_t begin, int64_t end, void* scratch) = nullptr;
};
static inline void run_matmul(const MatmulKernel& kernel, const MatmulArgs& args, int64_t begin,
                              int64_t end, void* scratch) {
  (args.rows < kernel.many ? kernel.run : kernel.run_many)(args, begin, end, scratch);
}

// A product is split into units of this many weight rows.
inline constexpr int64_t kMatmulPanelRows = 16;
// Input rows that a kernel may put into its own order at a time.
inline constexpr int64_t kMatmulRowBlock = 144;
// Scratch of one thread: 32 weight rows as FP32 (or as BF16 tiles, each block of K, at least 16
// columns, padded to 32), a block of input rows, and room for sums.
inline constexpr int64_t matmul_scratch_bytes(int64_t widest_in) {
  return (2 * widest_in + 64) * 4 * kMatmulPanelRows + (widest_in + 96) * 4 * kMatmulRowBlock +
         (1 << 20);
}

// Attention of a tile of queries over one block of KV positions, and the merge of such blocks.
// A query is one (row, head) pair; its state is the running softmax over blocks merged so far.
inline constexpr int32_t kKvBlock = 128;  // positions; blocks start at multiples of it

struct AttentionTile {
  const void* q;          // [queries, stride] in the kernel's form
  const int32_t* limits;  // [queries] how many positions of this block each query sees
  int32_t queries;
  const void* keys;  // [positions, stride]: latent, rope
  int32_t positions;
  int32_t latent;
  int32_t rope;
  int64_t stride;  // elements
  // What will be loaded next, to be prefetched meanwhile: pool rows next_slots[0, next).
  const void* pool;
  int64_t pool_row_bytes;
  const int32_t* next_slots;
  int32_t next;
  float* scores;  // scratch [queries, kKvBlock]
  // Partial result of this block.
  float* max;  // [queries]; -inf when the query sees nothing
  float* sum;  // [queries]
  float* acc;  // [queries, latent]
};

// The form in which a target computes attention: FP32, or BF16 where it has a dot product for it.
struct AttentionKernel {
  int32_t element_bytes;
  int32_t row_multiple;  // rows of queries and keys are padded to a multiple of this
  // One query: [latent | rope] x softmax scale.
  void (*query)(const float* latent, int32_t latent_n, const float* rope, int32_t rope_n,
                float scale, void* q, int64_t stride);
  // Pool rows slots[0, n).
  void (*load)(const KvLayer&, const int32_t* slots, int32_t n, void* keys, int64_t stride);
  void (*tile)(const AttentionTile&);
};

struct AttentionMerge {
  float* max;  // state of one query, updated
  float* sum;
  float* acc;  // [latent]
  float block_max;
  float block_sum;
  const float* block_acc;
  int32_t latent;
};

struct Ops {
  const char* target;

  // The fastest kernel of each format, and one that reads activations as FP32: more exact, slower.
  MatmulKernel matmul[kWeightFormatCount];
  MatmulKernel float_matmul[kWeightFormatCount];
  // Units are rows. Converts FP32 rows of n to BF16; padding up to y_stride is zeroed.
  void (*convert_bf16)(const float* x, int64_t x_stride, void* y, int64_t y_stride, int32_t n,
                       int64_t begin, int64_t end);
  // Units are rows. FP32 rows of n for kernels that take E4M3 codes apart as they lie in words of
  // 32 bits, four columns each: y = x * 2^64, where of every 32 columns in a block of scales all
  // first ones of four come first, then all second ones, ... The columns that are left at the end
  // of a block stay in place; padding is not written. 2^64 keeps products with codes, which the
  // kernel reads as numbers x 2^-120, far from both ends of FP32; |x| must be below 2^64. Null
  // before the first target that has such a kernel.
  void (*order_f8)(const float* x, int64_t x_stride, float* y, int64_t y_stride, int32_t n,
                   int32_t block, int64_t begin, int64_t end);
  // Units are rows. FP32 rows to quantized rows, y_stride bytes apart. Per scale: amax = max |x|,
  // at least 1e-10; code = round to even(x * (127 / amax)), scale = amax / 127. If not all are
  // finite, the scale is NaN and the codes are 0.
  void (*quantize)(const QuantLayout& layout, const float* x, int64_t x_stride, void* y,
                   int64_t y_stride, int64_t begin, int64_t end);
  // Units are rows.
  void (*embed)(const EmbedArgs&, int64_t begin, int64_t end);
  void (*rms_norm)(const RmsNormArgs&, int64_t begin, int64_t end);
  void (*add)(const AddArgs&, int64_t begin, int64_t end);
  void (*rope)(const RopeArgs&, int64_t begin, int64_t end);
  void (*silu_mul)(const SiluMulArgs&, int64_t begin, int64_t end);
  void (*gate)(const GateArgs&, int64_t begin, int64_t end);
  void (*combine)(const CombineArgs&, int64_t begin, int64_t end);
  void (*kv_store)(const KvStoreArgs&, int64_t begin, int64_t end);

  AttentionKernel attention;        // the fastest
  AttentionKernel float_attention;  // in FP32; for FP32 pools and FP32 activations
  void (*attention_merge)(const AttentionMerge&);
};

// The kernel that multiplies by w: the fastest of its format where that takes the matrix. Integer
// ones want units of certain widths; those that widen FP8 to BF16 pad each block to their vectors,
// so that narrow blocks would outgrow their scratch.
static inline const MatmulKernel& matmul_kernel(const Ops& ops, const MatrixView& w, bool fastest) {
  const auto f = static_cast<int>(w.format);
  const ActivationFormat form = ops.matmul[f].activation;
  const bool narrow = w.block_in % 16 != 0 && w.block_in < w.in;
  const bool takes = form == ActivationFormat::kI8     ? takes_integers(w)
                     : form == ActivationFormat::kBF16 ? w.format != WeightFormat::kF8 || !narrow
                                                       : true;
  return fastest && takes ? ops.matmul[f] : ops.float_matmul[f];
}

// Each target fills only what it improves; the rest stays from the weaker one before it.
void add_scalar(Ops& ops);
void add_avx2(Ops& ops);
void add_avx_vnni(Ops& ops);
void add_avx512(Ops& ops);
void add_avx512_vnni(Ops& ops);
void add_avx512_bf16(Ops& ops);
void add_amx_bf16(Ops& ops);
void add_amx_int8(Ops& ops);

}  // namespace fathom
