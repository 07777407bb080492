// What the routes share: where the server is in its life, and the model once there is one.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>

#include "http/server.h"
#include "server/engine_control.h"
#include "server/info.h"
#include "server/json_text.h"
#include "server/metrics.h"

namespace fathom {

// Only ever moves down the list.
enum class Phase { kLoading, kWarmingUp, kServing, kStopping };

struct GenerationRoutes {
  http::Handler generate, completions, chat_completions, messages, count_tokens, responses,
      embeddings, encode, score, tokenize, detokenize, tokenizer_info;
};

struct LoadedModel {
  ModelFacts facts;
  std::unique_ptr<EngineControl> engine;
  GenerationRoutes routes;
};

// Any thread.
class ServerState {
 public:
  explicit ServerState(const std::string& served_name) : metrics(served_name) {}

  Phase phase() const { return phase_; }
  // nullptr while loading.
  const LoadedModel* model() const { return published_.load(std::memory_order_acquire); }
  double seconds_since_start() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  // One thread, the one that starts and stops the server.
  void loaded(LoadedModel model) {
    model_ = std::move(model);
    published_.store(&model_, std::memory_order_release);
    phase_ = Phase::kWarmingUp;
  }
  void enter(Phase phase) { phase_ = phase; }

  Metrics metrics;
  std::atomic<int> generating{0};  // generation requests being answered

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::atomic<Phase> phase_{Phase::kLoading};
  LoadedModel model_;
  std::atomic<const LoadedModel*> published_{nullptr};
};

}  // namespace fathom
