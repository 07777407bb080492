#include "engine/engine.h"

#include <iterator>
#include <set>
#include <thread>

#include "base/log.h"
#include "base/units.h"
#include "engine/inbox.h"
#include "engine/loop.h"
#include "engine/memory.h"
#include "model/loader.h"

namespace fathom {
namespace {

constexpr int64_t kMostLogprobs = 1 << 24;  // of a request: 128 MiB

// Request ids in flight; shared by submitters and streams.
struct Register {
  std::mutex mutex;
  std::set<std::string, std::less<>> rids;
};

std::chrono::steady_clock::time_point in_seconds(double seconds) {
  return std::chrono::steady_clock::now() + std::chrono::microseconds(static_cast<int64_t>(seconds * 1e6));
}

double available_gib() { return static_cast<double>(host_memory().available) / kGiB; }

}  // namespace

struct TokenStream::State {
  std::shared_ptr<Inbox> inbox;
  std::shared_ptr<Register> requests;  // null: not registered
  uint64_t id = 0;
  std::string rid;
  std::atomic<bool> finished{false};

  // Once: forgets the request; true for the first caller.
  bool end() {
    if (finished.exchange(true)) return false;
    if (!requests) return true;
    std::lock_guard lock(requests->mutex);
    requests->rids.erase(rid);
    return true;
  }
};

TokenStream::TokenStream(TokenStream&&) noexcept = default;
TokenStream& TokenStream::operator=(TokenStream&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
TokenStream::~TokenStream() { stop(); }

void TokenStream::stop() {
  if (state_ && state_->end()) state_->inbox->push(DropRequest{state_->id});
}

struct Engine::Impl {
  Plan plan;
  std::shared_ptr<Inbox> inbox = std::make_shared<Inbox>();
  std::shared_ptr<Register> requests = std::make_shared<Register>();
  std::unique_ptr<EngineLoop> loop;
  std::thread thread;
  Arrivals arrivals;

  // Tells the loop something; aborts_all: which also ends those on the way.
  template <class Message>
  void tell(Message message, bool aborts_all) {
    const auto push = [&] { inbox->push(std::move(message)); };
    aborts_all ? arrivals.abort("", true, push) : push();
  }

  std::atomic<uint64_t> next_id{1};
  std::mutex shutting_down;

  Status check_lengths(GenerateRequest& request) const;
};

Engine::Engine() : impl_(std::make_unique<Impl>()) {}

Engine::~Engine() { shutdown(0); }

Result<std::unique_ptr<Engine>> Engine::create(const Plan& plan) {
  const auto begin = std::chrono::steady_clock::now();
  log::info("Load weight begin. avail mem={:.2f} GB", available_gib());
  auto exec = Exec::create({.threads = plan.threads, .cores = plan.options.cores});
  auto compute = TRY(Compute::create(*exec, plan.kernel_target, plan.options.activations));
  auto model = TRY(load_model(plan.model, *plan.options.model,
                              {.load_format = plan.options.load_format,
                               .quant = plan.options.quant,
                               .seed = plan.options.random_seed,
                               .max_positions = plan.context_length},
                              *compute));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  log::info("Load weight end. elapsed={:.2f} s, type={}, {}dtype=torch.{}, avail mem={:.2f} GB, "
            "mem usage={:.2f} GB.", seconds, plan.model.architecture,
            plan.quantization.empty() ? "" : fmt::format("quant={}, ", plan.quantization),
            plan.model.torch_dtype, available_gib(),
            static_cast<double>(model->weight_bytes()) / kGiB);
  auto kv = TRY(KvPool::allocate(plan.model, plan.kv_format, plan.total_tokens));
  log::info("KV Cache is allocated. #tokens: {}, KV size: {:.2f} GB", plan.total_tokens,
            static_cast<double>(plan.kv_bytes) / kGiB);
  Arena arena(TRY(Buffer::allocate(static_cast<size_t>(scratch_bytes(plan.model, plan.step_rows)))));
  Buffer logits = TRY(Buffer::allocate(
      static_cast<size_t>(Runner::logit_bytes(plan.model, plan.max_running))));
  log::info("Memory pool end. avail mem={:.2f} GB", available_gib());
  log::info("max_total_num_tokens={}, chunked_prefill_size={}, max_prefill_tokens={}, "
            "max_running_requests={}, context_len={}, available_cpu_mem={:.2f} GB",
            plan.total_tokens, plan.chunk_rows, plan.options.scheduler.max_prefill_tokens,
            plan.max_running, plan.context_length, available_gib());

  return start(plan, {std::move(exec), std::move(compute), std::move(model), std::move(kv),
                      std::move(arena), std::move(logits)});
}

std::unique_ptr<Engine> Engine::start(const Plan& plan, EngineParts parts) {
  std::unique_ptr<Engine> engine(new Engine);
  Impl& m = *engine->impl_;
  m.plan = plan;
  m.loop = std::make_unique<EngineLoop>(plan, std::move(parts), *m.inbox);
  m.thread = std::thread([&m] { m.loop->run(); });
  return engine;
}

// Spec: http-api 15 and rulings "Lengths". Also fills in "as much as fits".
Status Engine::Impl::check_lengths(GenerateRequest& r) const {
  const auto prompt = static_cast<int64_t>(r.input_ids.size());
  const int64_t context = plan.context_length;
  int64_t& most = r.sampling.max_new_tokens;
  if (prompt == 0) return invalid("input_ids cannot be empty.");
  const auto& limit = plan.options.max_new_tokens_limit;
  if (limit && most > *limit) most = *limit;
  if (prompt > context || (prompt == context && most != 0)) {
    return invalid("The input ({} tokens) is longer than the model's context length ({} tokens).",
                   prompt, context);
  }
  if (prompt > plan.total_tokens) {
    return invalid("Input length ({} tokens) exceeds the maximum allowed length ({} tokens). Use a "
                   "shorter input or enable --allow-auto-truncate.", prompt, plan.total_tokens);
  }
  if (most < 0) {
    most = std::min(context, plan.total_tokens) - prompt;
    if (limit) most = std::min(most, *limit);
  } else if (prompt + most > context) {
    return invalid("Requested token count exceeds the model's maximum context length of {} tokens. "
                   "You requested a total of {} tokens: {} tokens from the input messages and {} "
                   "tokens for the completion. Please reduce the number of tokens in the input "
                   "messages or the completion to fit within the limit.",
                   context, prompt + most, prompt, most);
  } else if (prompt + most > plan.total_tokens) {
    return invalid("The request needs {} tokens ({} input, {} output), but the KV pool holds {}. "
                   "Ask for fewer tokens or start the server with a larger --max-total-tokens.",
                   prompt + most, prompt, most, plan.total_tokens);
  }
  if (r.logprob.enabled && r.logprob.start_len > prompt) {
    return invalid("logprob_start_len ({}) must not exceed the prompt length ({}).",
                   r.logprob.start_len, prompt);
  }
  if (r.logprob.enabled) {
    const int64_t positions = most + (r.logprob.start_len >= 0 ? prompt - r.logprob.start_len : 0);
    const int64_t each = 1 + r.logprob.top_n + std::ssize(r.logprob.token_ids);
    if (positions * each > kMostLogprobs) {
      return invalid("The request asks for up to {} logprobs ({} at each of {} positions); at most {} "
                     "are returned. Ask for fewer at each position, a later logprob_start_len or fewer "
                     "tokens.", positions * each, each, positions, kMostLogprobs);
    }
  }
  return {};
}

Result<TokenStream> Engine::submit(GenerateRequest request, OnTokens on_tokens) {
  Impl& m = *impl_;
  TRY(m.check_lengths(request));
  for (size_t i = 0; i < request.input_ids.size(); ++i) {
    const int32_t id = request.input_ids[i];
    if (id < 0 || id >= m.plan.model.vocab_size) {
      return invalid("input_ids[{}]: token id {} is outside [0, {})", i, id, m.plan.model.vocab_size);
    }
  }
  TokenStream stream;
  stream.state_ = std::make_shared<TokenStream::State>();
  TokenStream::State& state = *stream.state_;
  state.inbox = m.inbox;
  state.rid = request.rid;
  state.id = m.next_id.fetch_add(1);
  if (!request.health_probe) {  // whose id is nobody's business
    state.requests = m.requests;
    std::lock_guard lock(m.requests->mutex);
    if (!m.requests->rids.insert(request.rid).second) {
      state.finished = true;
      return invalid("Duplicate request ID detected: {}", request.rid);
    }
  }
  const std::weak_ptr<TokenStream::State> weak = stream.state_;
  OnTokens deliver = [weak, on_tokens = std::move(on_tokens)](TokenEvent&& event) {
    const auto alive = weak.lock();
    if (!alive || alive->finished) return;
    if (event.finish && !alive->end()) return;  // stopped just now
    on_tokens(std::move(event));
  };
  if (!m.inbox->push(AddRequest{state.id, std::move(request), std::move(deliver)})) {
    state.end();
    return fail(ErrorCode::kUnavailable, "The server is shutting down.");
  }
  return stream;
}

void Engine::abort_prefix(std::string rid_prefix) {
  if (rid_prefix.empty()) return;
  impl_->arrivals.abort(rid_prefix, false,
                        [&] { impl_->inbox->push(AbortRequests{rid_prefix, false}); });
}

void Engine::abort_all() {
  impl_->tell(AbortRequests{"", true}, true);
}

bool Engine::flush_cache(double timeout_seconds) {
  auto done = std::make_shared<std::promise<bool>>();
  auto answer = done->get_future();
  flush_cache(timeout_seconds, [done](bool flushed) { done->set_value(flushed); });
  return answer.get();
}

void Engine::flush_cache(double timeout_seconds, std::function<void(bool flushed)> done) {
  if (!impl_->inbox->push(FlushCache{done, in_seconds(timeout_seconds)})) done(false);
}

void Engine::pause(PauseMode mode) {
  impl_->tell(Control{[mode](EngineLoop& loop) { loop.pause(mode); }}, mode == PauseMode::kAbort);
}
void Engine::resume() {
  impl_->inbox->push(Control{[](EngineLoop& loop) { loop.resume(); }});
}
void Engine::tune(EngineTuning tuning) {
  impl_->inbox->push(Control{[tuning](EngineLoop& loop) { loop.tune(tuning); }});
}
void Engine::start_profile(ProfileRequest request) {
  impl_->inbox->push(Control{
      [request = std::move(request)](EngineLoop& loop) { loop.start_profile(request); }});
}
void Engine::stop_profile() {
  impl_->inbox->push(Control{[](EngineLoop& loop) { loop.stop_profile(); }});
}

void Engine::start_expert_record() {
  impl_->inbox->push(Control{[](EngineLoop& loop) { loop.start_expert_record(); }});
}
void Engine::stop_expert_record() {
  impl_->inbox->push(Control{[](EngineLoop& loop) { loop.stop_expert_record(); }});
}
ExpertCounts Engine::expert_counts() {
  auto done = std::make_shared<std::promise<ExpertCounts>>();
  auto answer = done->get_future();
  impl_->inbox->push(Control{[done = std::move(done)](EngineLoop& loop) {
    done->set_value(loop.expert_counts());
  }});
  try {
    return answer.get();
  } catch (const std::future_error&) {
    return {};
  }
}

Status Engine::update_weights(WeightUpdate update) {
  auto done = std::make_shared<std::promise<Status>>();
  auto answer = done->get_future();
  const bool abort_all = update.abort_all;
  impl_->tell(Control{[update = std::move(update), done = std::move(done)](EngineLoop& loop) {
                loop.request_update(update, done);
              }},
              abort_all);
  try {
    return answer.get();
  } catch (const std::future_error&) {
    return fail(ErrorCode::kUnavailable, "The server is shutting down.");
  }
}

Arrivals& Engine::arrivals() {
  return impl_->arrivals;
}
EngineStats Engine::stats() const { return impl_->loop->stats(); }
const Plan& Engine::plan() const { return impl_->plan; }
const ModelConfig& Engine::model_config() const { return impl_->plan.model; }
int32_t Engine::context_length() const { return impl_->plan.context_length; }
int64_t Engine::max_total_tokens() const { return impl_->plan.total_tokens; }
int64_t Engine::max_request_tokens() const {
  return std::min<int64_t>(impl_->plan.context_length, impl_->plan.total_tokens);
}

Engine::MemoryUse Engine::memory() const {
  return {impl_->loop->weight_bytes(), impl_->plan.kv_bytes, impl_->plan.scratch_bytes,
          host_memory().available};
}

void Engine::shutdown(double grace_seconds) {
  Impl& m = *impl_;
  std::lock_guard lock(m.shutting_down);
  if (!m.thread.joinable()) return;
  m.loop->finish_by(in_seconds(grace_seconds));
  m.inbox->close();
  m.thread.join();
}

}  // namespace fathom
