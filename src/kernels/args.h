// Arguments of every kernel: plain data only, because files compiled with ISA flags include this.
//
// Activations are FP32 rows in memory. T is the number of rows (tokens) of the step; strides are in
// elements. Row purity: a row of the result depends on its own row, its cache rows and the weights,
// never on T, on the split over threads or on its neighbours.
#pragma once

#include <cstdint>

#include "kernels/matrix.h"

namespace fathom {

// y[t] = x[t] * rsqrt(mean(x[t]^2) + eps) * weight.   x, y: [T, n]; may be the same.
struct RmsNormArgs {
  const float* x;
  int64_t x_stride;
  const float* weight;  // [n]
  float eps;
  float* y;
  int64_t y_stride;
  int32_t n;
};

// x[t] += delta[t].   [T, n]
struct AddArgs {
  float* x;
  int64_t x_stride;
  const float* delta;
  int64_t delta_stride;
  int32_t n;
};

// Rotates pairs (2i, 2i+1) of x by the angle of position[t]: interleaved RoPE.
// x: [T, heads, n] with strides between rows and heads; cos, sin: [max_position, n / 2].
struct RopeArgs {
  float* x;
  int64_t row_stride;
  int64_t head_stride;
  int32_t heads;
  int32_t n;
  const int32_t* positions;  // [T]
  const float* cos;
  const float* sin;
};

// y[t] = silu(gate[t]) * up[t].   [T, n]
struct SiluMulArgs {
  const float* gate;
  int64_t gate_stride;
  const float* up;
  int64_t up_stride;
  float* y;
  int64_t y_stride;
  int32_t n;
};

// y[t] = table[ids[t]] as FP32.   table: [vocab, n] in kF32, kF16 or kBF16.
struct EmbedArgs {
  MatrixView table;
  const int32_t* ids;  // [T]
  float* y;
  int64_t y_stride;
};

// The experts' gate (spec: deepseek-model 5), filled from the model's config.
struct GatePolicy {
  bool sigmoid = false;        // scores: sigmoid, else softmax over all experts
  bool group_by_top2 = false;  // a group's score: sum of its two best (V3), else its best (V2)
  int32_t experts = 0;
  int32_t groups = 1;  // consecutive experts; 1: no group limit
  int32_t top_groups = 1;
  int32_t top_k = 0;
  bool normalize = false;  // weights divided by their sum + 1e-20
  float scale = 1.0f;      // weights multiplied by it
};
// logits [T, experts] -> ids [T, top_k] (best first, ties to the lower id), weights [T, top_k].
struct GateArgs {
  GatePolicy policy;
  const float* logits;
  const float* bias;  // [experts], takes part in the choice only; null: none
  int32_t* ids;
  float* weights;
};

// y[t] = base[t] + sum over k, in order, of weight[t,k] * rows[slot[t,k]].
struct CombineArgs {
  const float* rows;     // [T * top_k, n]: expert outputs sorted by expert
  const int32_t* slots;  // [T, top_k]: row of (t, k) in `rows`
  const float* weights;  // [T, top_k]
  const float* base;     // [T, n] or null: the shared experts' output
  int32_t top_k;
  int32_t n;
  float* y;
  int64_t y_stride;
};

enum class KvFormat : uint8_t { kBF16, kF32, kF8E4M3, kF8E5M2 };

// One layer of the latent KV pool: row `slot` holds the normed latent (c) and the rotated key (r),
// `latent + rope` elements, contiguous.
struct KvLayer {
  void* data;
  KvFormat format;
  int32_t latent;
  int32_t rope;
  float scale = 1;  // FP8: value = code * scale
};

// Writes row t of c and k_pe to pool row slots[t].
struct KvStoreArgs {
  KvLayer kv;
  const float* c;
  int64_t c_stride;
  const float* k_pe;
  int64_t k_pe_stride;
  const int32_t* slots;  // [T]
};

// The rows that one sequence adds in a step: rows [first_row, first_row + rows) of the batch stand
// at positions [first_position, ...) and see the positions up to their own, through `slots`.
struct SequenceRows {
  int32_t first_row = 0;
  int32_t rows = 0;
  int32_t first_position = 0;
  const int32_t* slots = nullptr;  // position -> pool row, for all positions incl. the new ones
};

// Absorbed MLA: out[t,h] = softmax(scale * (q_latent[t,h].c + q_rope[t,h].k_pe)) . c
struct AttentionArgs {
  KvLayer kv;
  const SequenceRows* sequences;
  int32_t sequence_count;
  int32_t heads;
  float scale;
  const float* q_latent;  // [T, heads, latent]
  const float* q_rope;    // [T, heads, rope], strides below
  int64_t q_rope_row_stride;
  int64_t q_rope_head_stride;
  float* out;  // [T, heads, latent]
};

}  // namespace fathom
