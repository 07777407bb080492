#include "kernels/attention.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace fathom {
namespace {

// Queries per tile: large enough to reuse a converted KV block many times, small enough for L2.
constexpr int32_t kTileQueries = 128;
// Blocks per thread that are computed before their partial results are merged: those of all blocks
// of a few long sequences would take tens of gigabytes.
constexpr int64_t kRoundBlocks = 64;

void reserve(Buffer& buffer, int64_t bytes) {
  if (static_cast<int64_t>(buffer.size()) >= bytes) return;
  Result<Buffer> larger = Buffer::allocate(static_cast<size_t>(bytes + bytes / 4));
  CHECK(larger.has_value());
  buffer = std::move(*larger);
}

int64_t pool_row_bytes(const KvLayer& kv) {
  const int64_t element = kv.format == KvFormat::kF32 ? 4 : kv.format == KvFormat::kBF16 ? 2 : 1;
  return (kv.latent + kv.rope) * element;
}

int64_t align64(int64_t bytes) {
  return (bytes + 63) & ~int64_t{63};
}

}  // namespace

// One thread's working memory, carved out of a buffer.
struct Attention::Scratch {
  // In the kernel's form; room for FP32.
  std::byte* keys;     // [kKvBlock, width]
  std::byte* queries;  // [queries, width], scaled
  float* scores;       // [queries, kKvBlock]
  int32_t* limits;     // [queries]
  float* max;          // block's partial
  float* sum;
  float* acc;
  float* state_max;  // running state
  float* state_sum;
  float* state_acc;
  int32_t loaded_tile = -1;  // queries hold this tile

  static int64_t bytes(int64_t queries, int64_t latent, int64_t width) {
    return align64(kKvBlock * width * 4) + align64(queries * kKvBlock * 4) +
           align64(queries * width * 4) + 5 * align64(queries * 4) +
           2 * align64(queries * latent * 4) + 64;
  }
  Scratch(std::byte* memory, int64_t queries, int64_t latent_width, int64_t width) {
    const auto take = [&memory](int64_t bytes) {
      std::byte* p = memory;
      memory += align64(bytes);
      return p;
    };
    const auto floats = [&](int64_t n) { return reinterpret_cast<float*>(take(n * 4)); };
    keys = take(kKvBlock * width * 4);
    scores = floats(queries * kKvBlock);
    this->queries = take(queries * width * 4);
    limits = reinterpret_cast<int32_t*>(take(queries * 4));
    max = floats(queries);
    sum = floats(queries);
    state_max = floats(queries);
    state_sum = floats(queries);
    acc = floats(queries * latent_width);
    state_acc = floats(queries * latent_width);
  }
};

Attention::Attention(Exec& exec, const Ops& ops, bool always_float)
    : exec_(exec), ops_(ops), always_float_(always_float) {
  threads_.resize(static_cast<size_t>(exec.threads()));
}

void Attention::plan(const AttentionArgs& a) {
  const bool wide = always_float_ || a.kv.format == KvFormat::kF32;
  kernel_ = wide ? &ops_.float_attention : &ops_.attention;
  const int64_t multiple = kernel_->row_multiple;
  stride_ = (a.kv.latent + a.kv.rope + multiple - 1) / multiple * multiple;
  tiles_.clear();
  const int32_t tile_rows = std::max(1, kTileQueries / a.heads);
  for (int32_t s = 0; s < a.sequence_count; ++s) {
    const SequenceRows& sequence = a.sequences[s];
    for (int32_t row = 0; row < sequence.rows; row += tile_rows) {
      const int32_t rows = std::min(tile_rows, sequence.rows - row);
      const int32_t seen = sequence.first_position + row + rows;
      tiles_.push_back({s, row, rows, (seen + kKvBlock - 1) / kKvBlock});
    }
  }
  const int64_t queries = int64_t{tile_rows} * a.heads;
  for (Buffer& buffer : threads_) reserve(buffer, Scratch::bytes(queries, a.kv.latent, stride_));
}

void Attention::run(const AttentionArgs& a) {
  plan(a);
  const bool few = static_cast<int64_t>(tiles_.size()) < 4 * exec_.threads();
  const bool deep =
      std::any_of(tiles_.begin(), tiles_.end(), [](const Tile& tile) { return tile.blocks > 1; });
  if (few && deep && exec_.threads() > 1) {
    run_split(a);
  } else {
    run_tiles(a);
  }
}

void Attention::block(const AttentionArgs& a, const Tile& tile, int32_t b, Scratch& scratch,
                      float* max, float* sum, float* acc) {
  const SequenceRows& sequence = a.sequences[tile.sequence];
  const int32_t queries = tile.rows * a.heads;
  const int32_t first = b * kKvBlock;
  const int32_t seen_by_last = sequence.first_position + tile.row + tile.rows;
  const int32_t positions = std::min(kKvBlock, seen_by_last - first);

  const int32_t id = static_cast<int32_t>(&tile - tiles_.data());
  if (scratch.loaded_tile != id) {
    scratch.loaded_tile = id;
    for (int32_t q = 0; q < queries; ++q) {
      const int64_t row = sequence.first_row + tile.row + q / a.heads;
      const int64_t head = q % a.heads;
      const float* latent = a.q_latent + (row * a.heads + head) * a.kv.latent;
      const float* rope = a.q_rope + row * a.q_rope_row_stride + head * a.q_rope_head_stride;
      kernel_->query(latent, a.kv.latent, rope, a.kv.rope, a.scale,
                     scratch.queries + q * stride_ * kernel_->element_bytes, stride_);
    }
  }
  for (int32_t q = 0; q < queries; ++q) {
    const int32_t seen = sequence.first_position + tile.row + q / a.heads + 1;
    scratch.limits[q] = std::clamp(seen - first, 0, positions);
  }
  kernel_->load(a.kv, sequence.slots + first, positions, scratch.keys, stride_);
  const int32_t next = std::clamp(seen_by_last - first - kKvBlock, 0, kKvBlock);
  kernel_->tile({.q = scratch.queries,
                 .limits = scratch.limits,
                 .queries = queries,
                 .keys = scratch.keys,
                 .positions = positions,
                 .latent = a.kv.latent,
                 .rope = a.kv.rope,
                 .stride = stride_,
                 .pool = a.kv.data,
                 .pool_row_bytes = pool_row_bytes(a.kv),
                 .next_slots = sequence.slots + first + kKvBlock,
                 .next = next,
                 .scores = scratch.scores,
                 .max = max,
                 .sum = sum,
                 .acc = acc});
}

float* Attention::output(const AttentionArgs& a, const Tile& tile, int64_t query) const {
  const int64_t row = a.sequences[tile.sequence].first_row + tile.row + query / a.heads;
  return a.out + (row * a.heads + query % a.heads) * a.kv.latent;
}

void Attention::finish(const AttentionArgs& a, float sum, const float* acc, float* out) {
  const float factor = 1.0f / sum;
  for (int32_t i = 0; i < a.kv.latent; ++i) out[i] = acc[i] * factor;
}

void Attention::run_tiles(const AttentionArgs& a) {
  const int64_t max_queries = int64_t{std::max(1, kTileQueries / a.heads)} * a.heads;
  exec_.parallel_dynamic(static_cast<int64_t>(tiles_.size()), 1, [&](Range r, int thread) {
    for (int64_t i = r.begin; i < r.end; ++i) {
      const Tile& tile = tiles_[static_cast<size_t>(i)];
      Scratch s(threads_[static_cast<size_t>(thread)].data(), max_queries, a.kv.latent, stride_);
      const int32_t queries = tile.rows * a.heads;
      std::fill_n(s.state_max, queries, -std::numeric_limits<float>::infinity());
      std::fill_n(s.state_sum, queries, 0.0f);
      std::fill_n(s.state_acc, int64_t{queries} * a.kv.latent, 0.0f);
      for (int32_t b = 0; b < tile.blocks; ++b) {
        block(a, tile, b, s, s.max, s.sum, s.acc);
        for (int32_t q = 0; q < queries; ++q) {
          ops_.attention_merge({s.state_max + q, s.state_sum + q,
                                s.state_acc + int64_t{q} * a.kv.latent, s.max[q], s.sum[q],
                                s.acc + int64_t{q} * a.kv.latent, a.kv.latent});
        }
      }
      for (int32_t q = 0; q < queries; ++q) {
        finish(a, s.state_sum[q], s.state_acc + int64_t{q} * a.kv.latent, output(a, tile, q));
      }
    }
  });
}

void Attention::run_split(const AttentionArgs& a) {
  const int64_t latent = a.kv.latent;
  const int64_t max_queries = int64_t{std::max(1, kTileQueries / a.heads)} * a.heads;
  int64_t blocks = 0;
  int64_t queries = 0;
  int64_t pairs = 0;
  for (Tile& tile : tiles_) {
    tile.first_block = blocks;
    tile.first_query = queries;
    tile.first_partial = pairs;
    blocks += tile.blocks;
    queries += tile.rows * a.heads;
    pairs += int64_t{tile.blocks} * tile.rows * a.heads;
  }
  // A round's partial results: of each pair its accumulator, its largest score and its sum. Of each
  // query the last two so far; its accumulator is its output.
  const int64_t round = std::min(kRoundBlocks * exec_.threads(), blocks);
  const int64_t room = std::min(round * max_queries, pairs);
  reserve(partials_, (room * (latent + 2) + 2 * queries) * 4);
  float* acc = partials_.as<float>();
  float* max = acc + room * latent;
  float* sum = max + room;
  float* state_max = sum + room;
  float* state_sum = state_max + queries;
  std::fill_n(state_max, queries, -std::numeric_limits<float>::infinity());
  std::fill_n(state_sum, queries, 0.0f);
  const auto tile_of = [&](int64_t i, int64_t Tile::* first) -> const Tile& {
    return *(std::ranges::upper_bound(tiles_, i, {}, first) - 1);
  };
  const auto pair_of = [&](const Tile& tile, int64_t b) {
    return tile.first_partial + b * tile.rows * a.heads;
  };

  for (int64_t begin = 0; begin < blocks; begin += round) {
    const int64_t end = std::min(begin + round, blocks);
    const Tile& first = tile_of(begin, &Tile::first_block);
    const Tile& last = tile_of(end - 1, &Tile::first_block);
    const int64_t base = pair_of(first, begin - first.first_block);

    // Contiguous shares: while a block is computed, the next one is prefetched.
    exec_.parallel(end - begin, [&](Range r, int thread) {
      Scratch s(threads_[static_cast<size_t>(thread)].data(), max_queries, latent, stride_);
      for (int64_t i = begin + r.begin; i < begin + r.end; ++i) {
        const Tile& tile = tile_of(i, &Tile::first_block);
        const int64_t b = i - tile.first_block;
        const int64_t pair = pair_of(tile, b) - base;
        block(a, tile, static_cast<int32_t>(b), s, max + pair, sum + pair, acc + pair * latent);
      }
    });

    const int64_t first_query = first.first_query;
    const int64_t end_query = last.first_query + last.rows * a.heads;
    exec_.parallel(end_query - first_query, [&](Range r, int) {
      for (int64_t i = first_query + r.begin; i < first_query + r.end; ++i) {
        const Tile& tile = tile_of(i, &Tile::first_query);
        const int64_t q = i - tile.first_query;
        float* out = output(a, tile, q);
        const int64_t from = std::max(begin - tile.first_block, int64_t{0});
        const int64_t to = std::min<int64_t>(end - tile.first_block, tile.blocks);
        if (from == 0) std::fill_n(out, latent, 0.0f);
        for (int64_t b = from; b < to; ++b) {
          const int64_t pair = pair_of(tile, b) - base + q;
          ops_.attention_merge({state_max + i, state_sum + i, out, max[pair], sum[pair],
                                acc + pair * latent, a.kv.latent});
        }
        if (to == tile.blocks) finish(a, state_sum[i], out, out);
      }
    });
  }
}

}  // namespace fathom
