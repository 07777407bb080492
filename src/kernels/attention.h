// Threads the attention kernels of a target over sequences, rows, heads and blocks of the cache.
//
// The cache is walked in blocks of kKvBlock positions from position 0. A block yields a partial
// softmax; partial results are merged in block order, always in this form, so that a row's bits do
// not depend on chunking, on its neighbours or on the number of threads. There are two schedules of
// the same arithmetic: many queries (prefill, big batches) keep the running state of a tile and
// walk its blocks; few queries over a long cache (decode) compute blocks in parallel, a round of
// them at a time, and merge after.
#pragma once

#include <vector>

#include "device/exec.h"
#include "kernels/ops.h"
#include "tensor/buffer.h"

namespace fathom {

class Attention {
 public:
  // always_float: also where BF16 would be faster.
  Attention(Exec& exec, const Ops& ops, bool always_float);
  void run(const AttentionArgs& args);

 private:
  // Queries of up to kTileRows rows of one sequence and all heads, against its blocks.
  struct Tile {
    int32_t sequence;
    int32_t row;  // first row in the sequence
    int32_t rows;
    int32_t blocks;  // of KV that its last row sees
    // When split along the cache: what the tiles before it have.
    int64_t first_block = 0;
    int64_t first_query = 0;
    int64_t first_partial = 0;  // (block, query) pairs
  };
  struct Scratch;

  void plan(const AttentionArgs& args);
  void run_tiles(const AttentionArgs& args);
  void run_split(const AttentionArgs& args);
  // Partial of one tile over one block into max, sum, acc (per query of the tile).
  void block(const AttentionArgs& args, const Tile& tile, int32_t b, Scratch& scratch, float* max,
             float* sum, float* acc);
  // Where a query's result goes.
  float* output(const AttentionArgs& args, const Tile& tile, int64_t query) const;
  static void finish(const AttentionArgs& args, float sum, const float* acc, float* out);

  Exec& exec_;
  const Ops& ops_;
  bool always_float_;
  const AttentionKernel* kernel_ = nullptr;  // of this run
  int64_t stride_ = 0;                       // of its rows, elements
  std::vector<Tile> tiles_;
  std::vector<Buffer> threads_;  // scratch per thread
  Buffer partials_;
};

}  // namespace fathom
