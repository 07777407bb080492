// An engine around the fake model, requests to it, and what comes back. Test support.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/runner.h"
#include "engine/testing/fake_model.h"

namespace fathom {

// Lets the engine make steps one by one. Open at first.
class Gate {
 public:
  // The engine's side.
  void pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_ || permits_ > 0; });
    if (!open_) --permits_;
  }
  void hold() {
    std::lock_guard lock(mutex_);
    open_ = false;
    arrived_ = 0;
  }
  void let(int steps) {
    std::lock_guard lock(mutex_);
    permits_ += steps;
    changed_.notify_all();
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // Until the engine has come to its n-th step since hold().
  void wait_for_step(int n) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return arrived_ >= n; }));
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int permits_ = 0;
  int arrived_ = 0;
};

// All that a request's receiver got.
struct Answer {
  std::vector<int32_t> tokens;
  std::vector<PositionLogprobs> input_logprobs;
  int32_t input_logprob_events = 0;
  FinishReason finish;
  int32_t finishes = 0;
  int32_t cached_tokens = 0;
  int32_t retractions = 0;

  bool failed(int status) const {
    return finish.kind == FinishReason::Kind::kAbort && finish.status_code == status;
  }
};

class Call {
 public:
  OnTokens receiver() {
    return [shared = shared_](TokenEvent&& event) {
      std::lock_guard lock(shared->mutex);
      Answer& a = shared->answer;
      a.tokens.insert(a.tokens.end(), event.tokens.begin(), event.tokens.end());
      if (!event.input_logprobs.empty()) {
        ++a.input_logprob_events;
        a.input_logprobs = std::move(event.input_logprobs);
      }
      a.cached_tokens = event.cached_tokens;
      a.retractions = event.retractions;
      if (event.finish) {
        ++a.finishes;
        a.finish = std::move(*event.finish);
      }
      shared->changed.notify_all();
    };
  }
  // The whole answer, once it has ended.
  Answer wait() {
    return wait_for([](const Answer& a) { return a.finishes > 0; });
  }
  Answer wait_for(const std::function<bool(const Answer&)>& ready) {
    std::unique_lock lock(shared_->mutex);
    EXPECT_TRUE(shared_->changed.wait_for(lock, std::chrono::seconds(60),
                                          [&] { return ready(shared_->answer); }));
    return shared_->answer;
  }
  Answer now() {
    std::lock_guard lock(shared_->mutex);
    return shared_->answer;
  }

  TokenStream stream;

 private:
  struct Shared {
    std::mutex mutex;
    std::condition_variable changed;
    Answer answer;
  };
  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

inline GenerateRequest request_for(std::vector<int32_t> prompt, int64_t max_new_tokens) {
  static std::atomic<int> number = 0;
  GenerateRequest request;
  request.rid = "r" + std::to_string(++number);
  request.input_ids = std::move(prompt);
  request.sampling.max_new_tokens = max_new_tokens;
  request.sampling.temperature = 0;
  return request;
}

struct EngineRig {
  struct Options {
    int64_t pool = 1024;
    int32_t max_running = 8;
    int32_t chunk = 64;
    SchedulerOptions scheduler;
    std::optional<int64_t> max_new_tokens_limit;
  };
  explicit EngineRig(const Options& options) : EngineRig(options, {}) {}
  // `extra` runs in each step after the gate.
  EngineRig(const Options& options, FakeModel::BeforeStep extra) {
    const Plan plan = plan_of(options);
    engine = Engine::start(
        plan, parts_of(plan, [this, extra = std::move(extra)](const ForwardBatch& batch) {
          gate.pass();
          if (extra) extra(batch);
        }));
  }
  static Plan plan_of(const Options& options) {
    Plan plan;
    plan.model = FakeModel::make_config();
    plan.context_length = 1024;
    plan.total_tokens = options.pool;
    plan.max_running = options.max_running;
    plan.chunk_rows = options.chunk;
    plan.step_rows = options.chunk + options.max_running;
    plan.options.decode_log_interval = 1 << 30;
    plan.options.max_new_tokens_limit = options.max_new_tokens_limit;
    plan.options.scheduler = options.scheduler;
    plan.options.scheduler.max_running = options.max_running;
    plan.options.scheduler.chunked_prefill_size = options.chunk;
    return plan;
  }
  static EngineParts parts_of(const Plan& plan, FakeModel::BeforeStep before) {
    EngineParts parts{
        .exec = Exec::create({.threads = 2, .cores = {}}),
        .compute = nullptr,
        .model = std::make_unique<FakeModel>(plan.total_tokens, std::move(before)),
        .kv = KvPool::allocate(plan.model, KvFormat::kBF16, plan.total_tokens).value(),
        .arena = Arena(Buffer::allocate(64).value()),
        .logits = Buffer::allocate(static_cast<size_t>(
            Runner::logit_bytes(plan.model, plan.max_running))).value()};
    parts.compute = Compute::create(*parts.exec, "scalar").value();
    return parts;
  }
  ~EngineRig() { gate.open(); }

  Call submit(GenerateRequest request) {
    Call call;
    auto stream = engine->submit(std::move(request), call.receiver());
    EXPECT_TRUE(stream) << stream.error().message;
    if (stream) call.stream = std::move(*stream);
    return call;
  }
  Call submit(std::vector<int32_t> prompt, int64_t max_new_tokens) {
    return submit(request_for(std::move(prompt), max_new_tokens));
  }
  // Everything has come back: nothing runs, and after a flush every page is free.
  void expect_clean() {
    ASSERT_TRUE(engine->flush_cache(60));
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    EngineStats stats = engine->stats();
    while (stats.available_tokens != stats.total_tokens && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(
          std::chrono::milliseconds(1));  // it publishes just after it answers
      stats = engine->stats();
    }
    EXPECT_EQ(stats.available_tokens, stats.total_tokens);
    EXPECT_EQ(stats.running + stats.queued, 0);
  }

  Gate gate;
  std::unique_ptr<Engine> engine;
};

inline std::vector<int32_t> prompt_of(int32_t tokens, int32_t seed) {
  std::vector<int32_t> prompt(static_cast<size_t>(tokens));
  for (int32_t i = 0; i < tokens; ++i) {
    prompt[static_cast<size_t>(i)] =
        static_cast<int32_t>(mix_bits(static_cast<uint64_t>(seed * 1000 + i)) % 50);
  }
  return prompt;
}

}  // namespace fathom
