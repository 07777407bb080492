#include "bench/one_batch.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>

#include "device/measure_machine.h"
#include "model/loader.h"

namespace fathom {
namespace {

using Steady = std::chrono::steady_clock;

double seconds_since(Steady::time_point start) {
  return std::chrono::duration<double>(Steady::now() - start).count();
}

int32_t greedy(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Result<std::unique_ptr<OneBatch>> OneBatch::create(const Plan& plan, int64_t tokens, int32_t rows) {
  std::unique_ptr<OneBatch> b(new OneBatch);
  b->exec_ = Exec::create({.threads = plan.threads, .cores = plan.options.cores});
  b->compute_ = TRY(Compute::create(*b->exec_, plan.kernel_target, plan.options.activations));
  b->model_ = TRY(load_model(plan.model, *plan.options.model,
                             {.load_format = plan.options.load_format,
                              .quant = plan.options.quant,
                              .seed = plan.options.random_seed,
                              .max_positions = plan.context_length},
                             *b->compute_));
  b->kv_ = TRY(KvPool::allocate(plan.model, plan.kv_format, tokens));
  b->rows_ = rows;
  b->chunk_ = plan.chunk_rows > 0 ? std::min(plan.chunk_rows, rows) : rows;
  b->arena_ = std::make_unique<Arena>(
      TRY(Buffer::allocate(static_cast<size_t>(scratch_bytes(plan.model, rows)))));
  return b;
}

OneBatch::Batch OneBatch::make_batch(int32_t sequences, int32_t capacity) const {
  Batch batch;
  batch.slots.resize(static_cast<size_t>(sequences));
  batch.last.resize(static_cast<size_t>(sequences));
  for (int32_t s = 0; s < sequences; ++s) {
    std::vector<int32_t>& slots = batch.slots[static_cast<size_t>(s)];
    slots.resize(static_cast<size_t>(capacity));
    std::iota(slots.begin(), slots.end(), s * capacity);
  }
  return batch;
}

void OneBatch::prefill(Batch& batch, int32_t sequence, std::span<const int32_t> prompt,
                       int32_t chunk) {
  const std::vector<int32_t>& slots = batch.slots[static_cast<size_t>(sequence)];
  const auto length = static_cast<int32_t>(prompt.size());
  logits_.resize(static_cast<size_t>(model_->config().vocab_size));
  for (int32_t from = 0; from < length; from += chunk) {
    const int32_t count = std::min(chunk, length - from);
    std::vector<int32_t> positions(static_cast<size_t>(count));
    std::iota(positions.begin(), positions.end(), from);
    const SequenceRows rows{0, count, from, slots.data()};
    const int32_t last_row = count - 1;
    const bool ends = from + count == length;
    model_->forward(
        {prompt.subspan(static_cast<size_t>(from), static_cast<size_t>(count)),
         positions,
         std::span(slots).subspan(static_cast<size_t>(from), static_cast<size_t>(count)),
         {&rows, 1},
         {&last_row, ends ? size_t{1} : size_t{0}}},
        kv_, *compute_, *arena_, logits_.data());
  }
  batch.last[static_cast<size_t>(sequence)] = greedy(logits_);
}

void OneBatch::decode(Batch& batch, int32_t position) {
  const auto sequences = static_cast<int32_t>(batch.last.size());
  const auto vocab = static_cast<size_t>(model_->config().vocab_size);
  const std::vector<int32_t> positions(batch.last.size(), position);
  std::vector<int32_t> slots, logit_rows;
  std::vector<SequenceRows> rows;
  for (int32_t s = 0; s < sequences; ++s) {
    const std::vector<int32_t>& own = batch.slots[static_cast<size_t>(s)];
    slots.push_back(own[static_cast<size_t>(position)]);
    logit_rows.push_back(s);
    rows.push_back({s, 1, position, own.data()});
  }
  logits_.resize(batch.last.size() * vocab);
  model_->forward({batch.last, positions, slots, rows, logit_rows}, kv_, *compute_, *arena_,
                  logits_.data());
  for (size_t s = 0; s < batch.last.size(); ++s) {
    batch.last[s] = greedy(std::span(logits_).subspan(s * vocab, vocab));
  }
}

BatchTimes OneBatch::run(const BatchShape& shape, uint64_t seed) {
  std::mt19937_64 random(seed);
  Batch batch = make_batch(shape.batch, shape.input_len + shape.output_len);
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(shape.batch));
  for (std::vector<int32_t>& prompt : prompts) {
    for (int32_t i = 0; i < shape.input_len; ++i) {
      prompt.push_back(
          static_cast<int32_t>(random() % static_cast<uint64_t>(model_->config().vocab_size)));
    }
  }

  BatchTimes times;
  const Steady::time_point start = Steady::now();
  for (int32_t s = 0; s < shape.batch; ++s) {
    prefill(batch, s, prompts[static_cast<size_t>(s)], chunk_);
  }
  times.prefill = seconds_since(start);
  for (int32_t i = 0; i + 1 < shape.output_len; ++i) {
    const Steady::time_point step = Steady::now();
    decode(batch, shape.input_len + i);
    times.decode.push_back(seconds_since(step));
  }
  times.total = seconds_since(start);
  times.prefill_throughput = shape.batch * static_cast<double>(shape.input_len) / times.prefill;
  times.median_decode = median(times.decode);
  if (!times.decode.empty()) times.median_decode_throughput = shape.batch / times.median_decode;
  times.overall_throughput = static_cast<double>(shape.tokens()) / times.total;
  if (shape.batch == 1 && !times.decode.empty()) {
    std::vector<double> speeds(3);
    for (double& speed : speeds) speed = read_speed(*exec_, model_->weights());
    times.read_limit = median(speeds);
  }
  return times;
}

std::vector<int32_t> OneBatch::generate(std::span<const int32_t> prompt, int32_t count,
                                        int32_t cut) {
  const auto length = static_cast<int32_t>(prompt.size());
  Batch batch = make_batch(1, length + count);
  prefill(batch, 0, prompt, cut > 0 ? cut : length);
  std::vector<int32_t> tokens = {batch.last[0]};
  for (int32_t i = 0; i + 1 < count; ++i) {
    decode(batch, length + i);
    tokens.push_back(batch.last[0]);
  }
  return tokens;
}

}  // namespace fathom
