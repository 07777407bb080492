// What the routes share: where the server is in its life, and the model once there is one.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>

#include "base/json.h"
#include "http/server.h"
#include "server/engine_control.h"
#include "server/info.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/request_journal.h"
#include "server/telemetry/request_log.h"

namespace fathom {

// Only ever moves down the list.
enum class Phase { kLoading, kWarmingUp, kServing, kStopping };

struct GenerationRoutes {
  http::Handler generate, vertex_generate, completions, chat_completions, messages, count_tokens,
      responses, embeddings, encode, score, tokenize, detokenize, tokenizer_info;
};

struct LoadedModel {
  ModelFacts facts;
  std::unique_ptr<EngineControl> engine;
  GenerationRoutes routes;
};

// Any thread.
class ServerState {
 public:
  explicit ServerState(const MetricsOptions& options) : metrics(options) {}

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

  // The model's facts as of now. Only when loaded.
  ModelFacts facts() const {
    ModelFacts facts = model()->facts;
    std::lock_guard lock(mutex_);
    if (!model_path_.empty()) facts.model_path = model_path_;
    if (!weight_version_.empty()) facts.weight_version = weight_version_;
    return facts;
  }
  std::string weight_version() const {
    std::lock_guard lock(mutex_);
    return weight_version_.empty() ? model()->facts.weight_version : weight_version_;
  }
  void weights_changed(const std::string& model_path, const std::optional<std::string>& version) {
    std::lock_guard lock(mutex_);
    model_path_ = model_path;
    if (version) weight_version_ = *version;
  }
  // Flags whose values are others than at the start: changed by /set_internal_state, or found.
  OrderedJson tuned_args() const {
    std::lock_guard lock(mutex_);
    return tuned_;
  }
  void tuned(const OrderedJson& args) {
    std::lock_guard lock(mutex_);
    tuned_.update(args);
  }

  Metrics metrics;
  std::unique_ptr<RequestLog> request_log;  // never null once listening
  std::unique_ptr<RequestJournal> journal;  // null without --crash-dump-folder
  std::atomic<bool> paused{false};          // by /pause_generation
  std::atomic<int> generating{0};           // generation requests being answered

 private:
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::atomic<Phase> phase_{Phase::kLoading};
  LoadedModel model_;
  std::atomic<const LoadedModel*> published_{nullptr};
  mutable std::mutex mutex_;
  std::string model_path_, weight_version_;  // empty: as loaded
  OrderedJson tuned_ = OrderedJson::object();
};

}  // namespace fathom
