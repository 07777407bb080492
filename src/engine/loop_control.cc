// The administrator's side of the engine loop: pause, tune, profile, other weights, time limits.
#include <algorithm>
#include <thread>

#include "base/log.h"
#include "engine/loop.h"
#include "model/loader.h"

namespace fathom {
namespace {

constexpr double kOverdueCheckSeconds = 0.1;

// "" when weights of `b` can take the place of those of `a`.
std::string difference(const ModelConfig& a, const ModelConfig& b) {
  const auto differs = [](std::string_view name, const auto& x, const auto& y) {
    return x == y ? std::string() : fmt::format("{} is {} instead of {}", name, y, x);
  };
  for (std::string text : {differs("architecture", a.architecture, b.architecture),
                           differs("hidden_size", a.hidden, b.hidden),
                           differs("num_hidden_layers", a.layers, b.layers),
                           differs("vocab_size", a.vocab_size, b.vocab_size),
                           differs("num_attention_heads", a.heads, b.heads),
                           differs("q_lora_rank", a.q_lora_rank, b.q_lora_rank),
                           differs("kv_lora_rank", a.kv_lora_rank, b.kv_lora_rank),
                           differs("qk_nope_head_dim", a.qk_nope, b.qk_nope),
                           differs("qk_rope_head_dim", a.qk_rope, b.qk_rope),
                           differs("v_head_dim", a.v_head, b.v_head),
                           differs("intermediate_size", a.dense_intermediate, b.dense_intermediate),
                           differs("moe_intermediate_size", a.moe_intermediate, b.moe_intermediate),
                           differs("n_routed_experts", a.gate.experts, b.gate.experts),
                           differs("num_experts_per_tok", a.gate.top_k, b.gate.top_k),
                           differs("n_shared_experts", a.shared_experts, b.shared_experts),
                           differs("quantization method", a.quant.method, b.quant.method)}) {
    if (!text.empty()) return text;
  }
  return "";
}

}  // namespace

void EngineLoop::handle(Control& message) {
  message.act(*this);
}

void EngineLoop::pause(PauseMode mode) {
  paused_ = true;
  if (mode == PauseMode::kAbort) {
    AbortRequests everything{.rid_prefix = "", .all = true};
    handle(everything);
  } else if (mode == PauseMode::kRetract) {
    scheduler().retract_all();
  }
}

void EngineLoop::resume() {
  paused_ = false;
}

void EngineLoop::tune(const EngineTuning& tuning) {
  SchedulerOptions& options = scheduler_options_;
  options.policy = tuning.policy.value_or(options.policy);
  options.max_running = std::min(tuning.max_running.value_or(options.max_running), plan_.max_running);
  options.conservativeness = tuning.conservativeness.value_or(options.conservativeness);
  scheduler().set_policy(options.policy);
  scheduler().set_max_running(options.max_running);
  if (tuning.conservativeness) scheduler().set_conservativeness(options.conservativeness);
  if (tuning.decode_log_interval) decode_log_interval_ = *tuning.decode_log_interval;
  if (tuning.sleep_per_step) sleep_per_step_ = *tuning.sleep_per_step;
}

void EngineLoop::start_profile(ProfileRequest request) {
  step_clock_.start(std::move(request));
}
void EngineLoop::stop_profile() {
  step_clock_.stop();
}

void EngineLoop::start_expert_record() {
  const ModelConfig& c = model_->config();
  expert_counts_.experts = c.gate.experts;
  expert_counts_.counts.assign(static_cast<size_t>(int64_t{c.layers} * c.gate.experts), 0);
  counts_experts_ = true;
  model_->count_experts(expert_counts_.counts);
}
void EngineLoop::stop_expert_record() {
  counts_experts_ = false;
  model_->count_experts({});
}

void EngineLoop::request_update(WeightUpdate update, std::shared_ptr<std::promise<Status>> done) {
  if (update.abort_all) {
    AbortRequests everything{.rid_prefix = "", .all = true};
    handle(everything);
  }
  scheduler().hold_admissions(true);
  updates_.push_back({std::move(update), std::move(done)});
}

// Once nothing runs, or at once while paused: requests that were paused in place go on with the new
// weights on what they have. Waiting requests are computed with the new weights.
void EngineLoop::update_weights() {
  if (updates_.empty() || (!paused_ && scheduler().stats().running > 0)) return;
  publish();  // shows as paused: the watchdog must not count the loading as a step
  for (PendingUpdate& pending : std::exchange(updates_, {})) {
    pending.done->set_value(load_weights(pending.update));
  }
  scheduler().hold_admissions(false);
}

Status EngineLoop::load_weights(const WeightUpdate& update) {
  try {
    const ModelConfig config =
        TRY(read_model_config(*update.files, plan_.options.json_model_override));
    if (const std::string text = difference(plan_.model, config); !text.empty()) {
      return invalid("{} holds another model: {}", update.files->location(), text);
    }
    auto model = TRY(load_model(config, *update.files,
                                {.load_format = update.load_format,
                                 .quant = plan_.options.quant,
                                 .seed = plan_.options.random_seed,
                                 .max_positions = plan_.context_length},
                                *compute_));
    model_ = std::move(model);
    runner_.use(*model_);
    if (counts_experts_) model_->count_experts(expert_counts_.counts);
  } catch (const std::exception& error) {
    return fail(ErrorCode::kInternal, "{}", error.what());
  }
  if (update.flush_cache) scheduler().forget_cache();
  log::info("Weights updated from {}", update.files->location());
  return {};
}

// SGLANG_REQ_WAITING_TIMEOUT and SGLANG_REQ_RUNNING_TIMEOUT.
void EngineLoop::drop_overdue() {
  const auto& waiting = plan_.options.waiting_timeout;
  const auto& running = plan_.options.running_timeout;
  const double now = clock_.now();
  if ((!waiting && !running) || now < next_overdue_check_) return;
  next_overdue_check_ = now + kOverdueCheckSeconds;
  std::vector<InFlight*> overdue;
  for (const auto& [id, r] : in_flight_) {
    if (r->request.health_probe) continue;  // the first one pages the weights in, which takes long
    const auto& limit = r->admitted ? running : waiting;
    const double since = r->arrival + (r->admitted ? r->queue_seconds : 0);
    if (limit && now - since > *limit) overdue.push_back(r.get());
  }
  for (InFlight* r : overdue) {
    scheduler().abort(r->id);
    finish(*r, FinishReason::abort(r->admitted ? "Request running timeout reached."
                                               : "Request waiting timeout reached.",
                                   503));
  }
}

void EngineLoop::sleep_after_step() const {
  if (sleep_per_step_ > 0)
    std::this_thread::sleep_for(std::chrono::duration<double>(sleep_per_step_));
}

}  // namespace fathom
