#include "model/deepseek/model.h"

#include <algorithm>

#include "model/deepseek/rotary.h"
#include "model/deepseek/unpack.h"
#include "weights/formats/format.h"

namespace fathom::deepseek {
namespace {

// One visitor more: the loaded weights, their bytes, and the bytes of those in routed experts.
struct LoadedBytes {
  int64_t bytes = 0;
  int64_t expert_bytes = 0;
  std::vector<std::span<const std::byte>> ranges;
  void add(const Matrix& m) {
    bytes += matrix_bytes(m.view);
    ranges.emplace_back(static_cast<const std::byte*>(m.view.data),
                        static_cast<size_t>(m.view.bytes()));
  }
  void linear(const std::string& prefix, int32_t, int32_t, Matrix& m) {
    add(m);
    if (prefix.find(".experts.") != std::string::npos) expert_bytes += matrix_bytes(m.view);
  }
  void source(const std::string&, int32_t, int32_t, Matrix&) {}  // what it became is counted apart
  void table(const std::string&, int32_t, int32_t, Matrix& m) { add(m); }
  void router(const std::string&, int32_t, int32_t, Matrix& m) { add(m); }
  void head(const std::string&, int32_t, int32_t, Matrix& m) { add(m); }
  void vector(const std::string&, int32_t n, Vector&) { bytes += int64_t{4} * n; }
  void kv_scale(const std::string&, float&) {}
};

// One head's rows of a matrix that holds all heads behind each other.
MatrixView head_of(const Matrix& matrix, int32_t head, int32_t rows) {
  MatrixView view = matrix.view;
  const int64_t bytes = view.format == WeightFormat::kF32 ? 4 : 2;
  view.data = static_cast<const std::byte*>(view.data) + int64_t{head} * rows * view.in * bytes;
  view.out = rows;
  return view;
}

// What every part of a forward pass needs.
struct Step {
  const ForwardBatch& batch;
  KvPool& kv;
  Compute& compute;
  Arena& arena;
  int32_t rows;
};

// A long step goes through each half of a layer in blocks of rows: the scratch is a block's, and a
// block's activations stay in the caches. Rows are pure, so nobody can tell.
constexpr int32_t kBlockRows = 1024;
// An expert's weights are read once per block: there, blocks have rows enough to make it worthwhile.
constexpr int32_t kRowsPerExpert = 128;

int32_t moe_block_rows(const ModelConfig& c) {
  if (c.gate.top_k == 0) return kBlockRows;
  return std::max(kBlockRows, kRowsPerExpert * c.gate.experts / c.gate.top_k);
}

// Rows [first, first + rows) of a batch as a batch of their own. No logits: those are taken at the
// end. `sequences` keeps the partition.
ForwardBatch slice(const ForwardBatch& batch, int32_t first, int32_t rows,
                   std::vector<SequenceRows>& sequences) {
  sequences.clear();
  for (SequenceRows s : batch.sequences) {
    const int32_t begin = std::max(s.first_row, first);
    const int32_t end = std::min(s.first_row + s.rows, first + rows);
    if (begin >= end) continue;
    sequences.push_back({begin - first, end - begin, s.first_position + begin - s.first_row, s.slots});
  }
  const auto from = static_cast<size_t>(first), count = static_cast<size_t>(rows);
  return {batch.tokens.subspan(from, count), batch.positions.subspan(from, count),
          batch.slots.subspan(from, count), sequences, {}};
}

class DeepseekModel final : public Model {
 public:
  DeepseekModel(const ModelConfig& config, Weights weights,
                std::shared_ptr<const Checkpoint> checkpoint, RotaryTables rotary)
      : c_(config),
        w_(std::move(weights)),
        checkpoint_(std::move(checkpoint)),
        rotary_(std::move(rotary)),
        head_(c_.tie_word_embeddings ? w_.embed.view : w_.head.view) {
    const LoadedBytes loaded = survey();
    weight_bytes_ = loaded.bytes;
    // A row reads one line of the embedding, and its experts only.
    bytes_per_token_ = loaded.bytes - loaded.expert_bytes;
    if (c_.gate.experts > 0) {
      bytes_per_token_ += loaded.expert_bytes / c_.gate.experts * c_.gate.top_k;
    }
    if (!c_.tie_word_embeddings) bytes_per_token_ -= matrix_bytes(w_.embed.view);
  }

  const ModelConfig& config() const override { return c_; }
  int64_t weight_bytes() const override { return weight_bytes_; }
  int64_t bytes_per_token() const override { return bytes_per_token_; }
  std::vector<std::span<const std::byte>> weights() override { return survey().ranges; }
  void forward(const ForwardBatch& batch, KvPool& kv, Compute& compute, Arena& arena,
               float* logits) override;
  const float* hidden() const override { return hidden_; }
  void logits_of(std::span<const int32_t> rows, Compute& compute, Arena& arena,
                 float* logits) override;
  void set_tap(Tap tap) override { tap_ = std::move(tap); }
  void count_experts(std::span<int64_t> counts) override { expert_counts_ = counts; }

 private:
  LoadedBytes survey() {
    LoadedBytes loaded;
    visit(w_, c_, loaded);
    for (const LayerWeights& layer : w_.layers) {
      loaded.add(layer.attention.key_up);
      loaded.add(layer.attention.value_up);
    }
    return loaded;
  }
  // body(step, x) for each block of at most `block` rows of the step and of x: [T, hidden].
  template <class Body>
  void for_each_block(const Step& s, int32_t block, float* x, Body&& body) {
    if (s.rows <= block) return body(s, x);
    for (int32_t first = 0; first < s.rows; first += block) {
      const int32_t rows = std::min(block, s.rows - first);
      const ForwardBatch part = slice(s.batch, first, rows, block_sequences_);
      body(Step{part, s.kv, s.compute, s.arena, rows}, x + int64_t{first} * c_.hidden);
    }
  }
  // y = attention(x).  x, y: [T, hidden]
  void attention(const Step& s, int32_t layer, const float* x, float* y);
  // Rotated queries, [T, heads, nope + rope], and the new latents stored in the pool.
  void project(const Step& s, const AttentionWeights& a, const KvLayer& kv, const float* x,
               float* q);
  void mlp(const Step& s, const MlpWeights& w, const float* x, float* y);
  void moe(const Step& s, int32_t layer, const float* x, float* y);

  void norm(const Step& s, const float* x, const Vector& weight, float* y) {
    s.compute.rms_norm({x, c_.hidden, weight.data(), c_.rms_eps, y, c_.hidden, c_.hidden}, s.rows);
  }
  void tap(std::string_view name, int32_t layer, const float* x, int32_t rows, int32_t n) {
    if (tap_) tap_(name, layer, x, rows, n);
  }

  ModelConfig c_;
  Weights w_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  RotaryTables rotary_;
  MatrixView head_;
  int64_t weight_bytes_ = 0;
  int64_t bytes_per_token_ = 0;
  const float* hidden_ = nullptr;
  Tap tap_;
  std::span<int64_t> expert_counts_;   // [layers, experts] or empty
  std::vector<GroupedLinear> groups_;  // reused between steps
  std::vector<int32_t> first_of_expert_;
  std::vector<SequenceRows> block_sequences_;
};

void DeepseekModel::forward(const ForwardBatch& batch, KvPool& kv, Compute& compute, Arena& arena,
                            float* logits) {
  arena.reset();
  const Step s{batch, kv, compute, arena, static_cast<int32_t>(batch.tokens.size())};
  const int64_t size = int64_t{s.rows} * c_.hidden;
  float* hidden = arena.take<float>(size);  // after the final norm; lives until the next step
  hidden_ = hidden;
  Arena::Scope scope(arena);
  float* x = arena.take<float>(size);  // residual stream
  const int64_t part = int64_t{std::min(s.rows, moe_block_rows(c_))} * c_.hidden;
  float* normed = arena.take<float>(part);
  float* delta = arena.take<float>(part);

  compute.embed({w_.embed.view, batch.tokens.data(), x, c_.hidden}, s.rows);
  for (int32_t l = 0; l < c_.layers; ++l) {
    const LayerWeights& layer = w_.layers[static_cast<size_t>(l)];
    tap("layer_input", l, x, s.rows, c_.hidden);

    // In row order: a block sees the latents of those before it.
    for_each_block(s, kBlockRows, x, [&](const Step& b, float* rows) {
      norm(b, rows, layer.attention_norm, normed);
      attention(b, l, normed, delta);
      compute.add({rows, c_.hidden, delta, c_.hidden, c_.hidden}, b.rows);
    });
    tap("attention_out", l, x, s.rows, c_.hidden);

    for_each_block(s, layer.mlp ? kBlockRows : moe_block_rows(c_), x, [&](const Step& b, float* rows) {
      norm(b, rows, layer.ffn_norm, normed);
      if (layer.mlp) {
        mlp(b, *layer.mlp, normed, delta);
      } else {
        moe(b, l, normed, delta);
      }
      compute.add({rows, c_.hidden, delta, c_.hidden, c_.hidden}, b.rows);
    });
  }
  tap("layer_input", c_.layers, x, s.rows, c_.hidden);
  norm(s, x, w_.norm, hidden);
  tap("hidden", c_.layers, hidden, s.rows, c_.hidden);
  logits_of(batch.logit_rows, compute, arena, logits);
}

void DeepseekModel::logits_of(std::span<const int32_t> rows, Compute& compute, Arena&,
                              float* logits) {
  if (rows.empty()) return;
  const GroupedLinear product{.w = head_,
                              .x = hidden_,
                              .x_stride = c_.hidden,
                              .x_rows = *std::max_element(rows.begin(), rows.end()) + 1,
                              .index = rows.data(),
                              .rows = static_cast<int32_t>(rows.size()),
                              .y = logits,
                              .y_stride = c_.vocab_size};
  compute.linear_grouped({&product, 1});
}

void DeepseekModel::attention(const Step& s, int32_t l, const float* x, float* y) {
  const AttentionWeights& a = w_.layers[static_cast<size_t>(l)].attention;
  const int32_t qk = c_.qk_nope + c_.qk_rope;
  Arena::Scope scope(s.arena);
  float* q = s.arena.take<float>(int64_t{s.rows} * c_.heads * qk);
  float* q_latent = s.arena.take<float>(int64_t{s.rows} * c_.heads * c_.kv_lora_rank);
  float* o_latent = s.arena.take<float>(int64_t{s.rows} * c_.heads * c_.kv_lora_rank);
  float* o = s.arena.take<float>(int64_t{s.rows} * c_.heads * c_.v_head);
  KvLayer kv = s.kv.layer(l);
  kv.scale = a.kv_scale;
  project(s, a, kv, x, q);

  // Absorb W_UK: the query of each head, in the latent space.
  groups_.clear();
  for (int32_t h = 0; h < c_.heads; ++h) {
    groups_.push_back({.w = head_of(a.key_up, h, c_.kv_lora_rank),
                       .x = q + h * qk,
                       .x_stride = int64_t{c_.heads} * qk,
                       .x_rows = s.rows,
                       .index = nullptr,
                       .rows = s.rows,
                       .y = q_latent + int64_t{h} * c_.kv_lora_rank,
                       .y_stride = int64_t{c_.heads} * c_.kv_lora_rank});
  }
  s.compute.linear_grouped(groups_);

  s.compute.attention({.kv = kv,
                       .sequences = s.batch.sequences.data(),
                       .sequence_count = static_cast<int32_t>(s.batch.sequences.size()),
                       .heads = c_.heads,
                       .scale = c_.softmax_scale(),
                       .q_latent = q_latent,
                       .q_rope = q + c_.qk_nope,
                       .q_rope_row_stride = int64_t{c_.heads} * qk,
                       .q_rope_head_stride = qk,
                       .out = o_latent});

  // Absorb W_UV: back from the latent space to the values of each head.
  groups_.clear();
  for (int32_t h = 0; h < c_.heads; ++h) {
    groups_.push_back({.w = head_of(a.value_up, h, c_.v_head),
                       .x = o_latent + int64_t{h} * c_.kv_lora_rank,
                       .x_stride = int64_t{c_.heads} * c_.kv_lora_rank,
                       .x_rows = s.rows,
                       .index = nullptr,
                       .rows = s.rows,
                       .y = o + int64_t{h} * c_.v_head,
                       .y_stride = int64_t{c_.heads} * c_.v_head});
  }
  s.compute.linear_grouped(groups_);

  const LinearOut out[] = {{a.out.view, y, c_.hidden}};
  s.compute.linear(o, int64_t{c_.heads} * c_.v_head, s.rows, out);
}

void DeepseekModel::project(const Step& s, const AttentionWeights& a, const KvLayer& kv,
                            const float* x, float* q) {
  const int32_t qk = c_.qk_nope + c_.qk_rope;
  const int32_t kv_width = c_.kv_lora_rank + c_.qk_rope;
  const int64_t q_width = int64_t{c_.heads} * qk;
  Arena::Scope scope(s.arena);
  float* latent = s.arena.take<float>(int64_t{s.rows} * kv_width);  // c_raw, then k_pe

  if (c_.q_lora_rank > 0) {
    float* cq = s.arena.take<float>(int64_t{s.rows} * c_.q_lora_rank);
    const LinearOut down[] = {{a.q_a.view, cq, c_.q_lora_rank}, {a.kv_a.view, latent, kv_width}};
    s.compute.linear(x, c_.hidden, s.rows, down);
    s.compute.rms_norm(
        {cq, c_.q_lora_rank, a.q_a_norm.data(), c_.rms_eps, cq, c_.q_lora_rank, c_.q_lora_rank},
        s.rows);
    const LinearOut up[] = {{a.q_b.view, q, q_width}};
    s.compute.linear(cq, c_.q_lora_rank, s.rows, up);
  } else {
    const LinearOut both[] = {{a.q_b.view, q, q_width}, {a.kv_a.view, latent, kv_width}};
    s.compute.linear(x, c_.hidden, s.rows, both);
  }

  // The latent is normed, the shared rotary key is not.
  s.compute.rms_norm(
      {latent, kv_width, a.kv_a_norm.data(), c_.rms_eps, latent, kv_width, c_.kv_lora_rank},
      s.rows);
  float* k_pe = latent + c_.kv_lora_rank;
  const int32_t* positions = s.batch.positions.data();
  s.compute.rope({k_pe, kv_width, 0, 1, c_.qk_rope, positions, rotary_.cos.as<float>(),
                  rotary_.sin.as<float>()},
                 s.rows);
  s.compute.rope({q + c_.qk_nope, q_width, qk, c_.heads, c_.qk_rope, positions,
                  rotary_.cos.as<float>(), rotary_.sin.as<float>()},
                 s.rows);
  s.compute.kv_store({kv, latent, kv_width, k_pe, kv_width, s.batch.slots.data()}, s.rows);
}

void DeepseekModel::mlp(const Step& s, const MlpWeights& w, const float* x, float* y) {
  const int32_t width = w.gate.view.out;
  Arena::Scope scope(s.arena);
  float* gate = s.arena.take<float>(int64_t{s.rows} * width);
  float* up = s.arena.take<float>(int64_t{s.rows} * width);
  const LinearOut in[] = {{w.gate.view, gate, width}, {w.up.view, up, width}};
  s.compute.linear(x, c_.hidden, s.rows, in);
  s.compute.silu_mul({gate, width, up, width, gate, width, width}, s.rows);
  const LinearOut out[] = {{w.down.view, y, c_.hidden}};
  s.compute.linear(gate, width, s.rows, out);
}

void DeepseekModel::moe(const Step& s, int32_t l, const float* x, float* y) {
  const MoeWeights& w = *w_.layers[static_cast<size_t>(l)].moe;
  const int32_t experts = c_.gate.experts;
  const int32_t top_k = c_.gate.top_k;
  const int32_t width = c_.moe_intermediate;
  const int32_t routed = s.rows * top_k;
  Arena::Scope scope(s.arena);
  float* scores = s.arena.take<float>(int64_t{s.rows} * experts);
  int32_t* ids = s.arena.take<int32_t>(routed);
  float* weights = s.arena.take<float>(routed);
  int32_t* slots = s.arena.take<int32_t>(routed);   // where (t, k) went in expert order
  int32_t* source = s.arena.take<int32_t>(routed);  // row of x for each place in expert order
  float* gate = s.arena.take<float>(int64_t{routed} * width);
  float* up = s.arena.take<float>(int64_t{routed} * width);
  float* down = s.arena.take<float>(int64_t{routed} * c_.hidden);

  const LinearOut router[] = {{w.router.view, scores, experts}};
  s.compute.linear(x, c_.hidden, s.rows, router);
  s.compute.gate({c_.gate, scores, w.bias.empty() ? nullptr : w.bias.data(), ids, weights}, s.rows);
  tap("router_logits", l, scores, s.rows, experts);
  if (!expert_counts_.empty()) {
    int64_t* counts = expert_counts_.data() + int64_t{l} * experts;
    for (int32_t i = 0; i < routed; ++i) ++counts[ids[i]];
  }

  // Dispatch: sort (t, k) by expert, rows of one expert in row order.
  first_of_expert_.assign(static_cast<size_t>(experts) + 1, 0);
  for (int32_t i = 0; i < routed; ++i) ++first_of_expert_[static_cast<size_t>(ids[i]) + 1];
  for (size_t e = 0; e < static_cast<size_t>(experts); ++e)
    first_of_expert_[e + 1] += first_of_expert_[e];
  for (int32_t i = 0; i < routed; ++i) {
    slots[i] = first_of_expert_[static_cast<size_t>(ids[i])]++;
    source[slots[i]] = i / top_k;
  }
  // The counters now hold each expert's end.
  const auto rows_of = [&](int32_t e) {
    const int32_t begin = e == 0 ? 0 : first_of_expert_[static_cast<size_t>(e) - 1];
    return std::pair(begin, first_of_expert_[static_cast<size_t>(e)] - begin);
  };

  // The shared expert goes along with the routed ones: it sees all rows, in order.
  float* shared_gate = nullptr;
  float* shared_up = nullptr;
  float* shared = nullptr;
  const int32_t shared_width = w.shared ? w.shared->gate.view.out : 0;
  if (w.shared) {
    shared_gate = s.arena.take<float>(int64_t{s.rows} * shared_width);
    shared_up = s.arena.take<float>(int64_t{s.rows} * shared_width);
    shared = s.arena.take<float>(int64_t{s.rows} * c_.hidden);
  }
  const auto up_projections = [&](const MlpWeights& m, const int32_t* rows, int32_t count,
                                  float* gate_out, float* up_out, int32_t n) {
    groups_.push_back({m.gate.view, x, c_.hidden, s.rows, rows, count, gate_out, n});
    groups_.push_back({m.up.view, x, c_.hidden, s.rows, rows, count, up_out, n});
  };
  groups_.clear();
  for (int32_t e = 0; e < experts; ++e) {
    const auto [begin, count] = rows_of(e);
    if (count == 0) continue;
    up_projections(w.experts[static_cast<size_t>(e)], source + begin, count,
                   gate + int64_t{begin} * width, up + int64_t{begin} * width, width);
  }
  if (w.shared) {
    up_projections(*w.shared, nullptr, s.rows, shared_gate, shared_up, shared_width);
  }
  s.compute.linear_grouped(groups_);
  s.compute.silu_mul({gate, width, up, width, gate, width, width}, routed);
  if (w.shared) {
    s.compute.silu_mul({shared_gate, shared_width, shared_up, shared_width, shared_gate,
                        shared_width, shared_width},
                       s.rows);
  }

  groups_.clear();
  for (int32_t e = 0; e < experts; ++e) {
    const auto [begin, count] = rows_of(e);
    if (count == 0) continue;
    groups_.push_back({w.experts[static_cast<size_t>(e)].down.view, gate + int64_t{begin} * width,
                       width, count, nullptr, count, down + int64_t{begin} * c_.hidden, c_.hidden});
  }
  if (w.shared) {
    groups_.push_back({w.shared->down.view, shared_gate, shared_width, s.rows, nullptr, s.rows,
                       shared, c_.hidden});
  }
  s.compute.linear_grouped(groups_);
  s.compute.combine({down, slots, weights, shared, top_k, c_.hidden, y, c_.hidden}, s.rows);
}

}  // namespace

// Mirrors the arena's takes above, widest path; FP32 and 32-bit ids are both 4 bytes.
int64_t scratch_bytes(const ModelConfig& c, int32_t rows) {
  const int64_t t = rows;
  const int64_t block = std::min(rows, kBlockRows);
  const int64_t moe_block = std::min(rows, moe_block_rows(c));
  const int64_t attention =
      block * (int64_t{c.heads} * (c.qk_nope + c.qk_rope + 2 * c.kv_lora_rank + c.v_head) +
           c.kv_lora_rank + c.qk_rope + c.q_lora_rank);
  const int64_t dense = block * 2 * int64_t{c.dense_intermediate};
  const int64_t k = c.gate.top_k;
  const int64_t moe = moe_block * (c.gate.experts + 4 * k + 2 * k * c.moe_intermediate + k * c.hidden +
                           c.hidden + 2 * int64_t{c.shared_experts} * c.moe_intermediate);
  constexpr int64_t kAlignmentSlack = 64 * 32;
  return 4 * (2 * (t + moe_block) * c.hidden + std::max({attention, dense, moe})) + kAlignmentSlack;
}

Result<std::unique_ptr<Model>> make_model(const ModelConfig& config, Weights weights,
                                          std::shared_ptr<const Checkpoint> checkpoint,
                                          const LoadOptions& options, Compute& compute) {
  for (LayerWeights& layer : weights.layers) {
    TRY(unpack_kv_b(config, layer.attention, compute.exec()));
  }
  const int32_t positions = options.max_positions > 0 ? options.max_positions : config.max_position;
  RotaryTables rotary = TRY(make_rotary_tables(config, positions));
  return std::make_unique<DeepseekModel>(config, std::move(weights), std::move(checkpoint),
                                         std::move(rotary));
}

}  // namespace fathom::deepseek
