#include "engine/loop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/log.h"
#include "sample/random.h"

namespace fathom {

EngineLoop::EngineLoop(const Plan& plan, EngineParts parts, Inbox& inbox)
    : plan_(plan),
      exec_(std::move(parts.exec)),
      compute_(std::move(parts.compute)),
      model_(std::move(parts.model)),
      runner_(*model_, *compute_, std::move(parts.kv), std::move(parts.arena),
              std::move(parts.logits)),
      scheduler_options_(plan.options.scheduler),
      books_(std::make_unique<Books>(plan_, scheduler_options_, clock_)),
      sampler_(*exec_, plan.model.vocab_size, plan.options.allowed_tokens,
               plan.options.enable_nan_detection, plan.options.original_logprobs),
      inbox_(inbox),
      decode_log_interval_(plan.options.decode_log_interval),
      weight_bytes_(model_->weight_bytes()) {
  last_decode_report_ = last_prefill_report_ = clock_.now();
  publish();
}

void EngineLoop::run() {
  bool more = true;
  while (more && std::chrono::steady_clock::now() < finish_by_.load()) {
    try {
      more = turn();
    } catch (const std::exception& error) {
      start_over(error.what());
    }
  }
  refuse_rest();
}

bool EngineLoop::turn() {
  drain_inbox();
  drop_overdue();
  update_weights();
  if (paused_ && !inbox_.closed()) {
    scheduler().drop_aborted();  // a pause may last: nobody's pages wait for its end
    answer_flushes();
    publish();
    return true;
  }
  step_clock_.lap("inbox", next_.steps);
  const StepPlan& plan = scheduler().plan();
  for (const SequenceId id : scheduler().take_starved()) {
    finish(*in_flight_.at(id),
           FinishReason::abort("Out of memory even after retracting all other requests in the "
                               "decode batch. Aborting the last request.", 500));
  }
  for (const std::string& line : scheduler().take_messages()) log::info("{}", line);
  publish();  // before the step, which may take long
  if (!plan.empty()) step(plan);
  answer_flushes();
  publish();
  return !inbox_.finished() || !in_flight_.empty();
}

// A failure outside of a forward pass (out of memory, or a bug) may have left the books half written:
// all requests end with an error, and the engine goes on with empty ones.
void EngineLoop::start_over(const std::string& why) {
  log::error("the engine starts over: {}", why);
  masks_.finish();
  // Left as they are: their destructors would check what may not hold.
  static_cast<void>(books_.release());
  books_ = std::make_unique<Books>(plan_, scheduler_options_, clock_);
  if (!updates_.empty()) scheduler().hold_admissions(true);
  while (!in_flight_.empty()) {
    finish(*in_flight_.begin()->second, FinishReason::abort("Internal server error: " + why, 500));
  }
}

// Nobody is left without an answer, whenever his message came.
void EngineLoop::refuse_rest() {
  const FinishReason reason = FinishReason::abort("The server is shutting down.", 503);
  inbox_.close();
  for (Message& message : inbox_.take_now()) {
    if (auto* flush = std::get_if<FlushCache>(&message)) handle(*flush);
    if (auto* add = std::get_if<AddRequest>(&message)) take_up(*add).request = std::move(add->request);
  }
  while (!in_flight_.empty()) finish(*in_flight_.begin()->second, reason);
  for (FlushCache& flush : flushes_) flush.done(false);
  for (PendingUpdate& pending : updates_) {
    pending.done->set_value(fail(ErrorCode::kUnavailable, "The server is shutting down."));
  }
  step_clock_.stop();
}

void EngineLoop::drain_inbox() {
  // An update that waited for the last running request is done before the next sleep.
  const bool idle = updates_.empty() && (paused_ || scheduler().idle());
  TimePoint until = TimePoint::min();
  if (idle) until = TimePoint::max();
  for (const FlushCache& flush : flushes_) until = std::min(until, flush.deadline);
  if (!in_flight_.empty()) {  // paused: requests may become overdue
    until = std::min(until, std::chrono::steady_clock::now() + std::chrono::milliseconds(500));
  }
  const double start = clock_.now();
  std::vector<Message> messages =
      idle && !inbox_.closed() ? inbox_.take(until) : inbox_.take_now();
  if (idle) next_.idle_seconds += clock_.now() - start;
  for (Message& message : messages) {
    try {
      std::visit([this](auto& m) { handle(m); }, message);
    } catch (const std::exception& error) {
      log::error("a message to the engine failed: {}", error.what());
      refuse(message, error.what());
    }
  }
}

// Of a request that could not be taken up nothing stays.
void EngineLoop::refuse(Message& message, const std::string& why) {
  if (auto* flush = std::get_if<FlushCache>(&message); flush && flush->done) flush->done(false);
  auto* add = std::get_if<AddRequest>(&message);
  if (!add) return;
  scheduler().abort(add->id);
  InFlight& r = take_up(*add);
  finish(r, FinishReason::abort("Internal server error: " + why, 500));
}

// The entry of this request, made by the first call.
InFlight& EngineLoop::take_up(AddRequest& message) {
  std::unique_ptr<InFlight>& r = in_flight_[message.id];
  if (!r) r = std::make_unique<InFlight>();
  r->id = message.id;
  if (message.on_tokens) r->on_tokens = std::exchange(message.on_tokens, nullptr);
  return *r;
}

void EngineLoop::handle(AddRequest& message) {
  InFlight* const r = &take_up(message);
  r->request = std::move(message.request);
  const auto& limits = r->request.sampling.thoughts;
  r->thoughts = Thoughts(limits ? &*limits : nullptr);
  r->arrival = clock_.now();
  ++requests_;
  r->seed = r->request.sampling.seed.value_or(mix_bits(plan_.options.random_seed ^ mix_bits(requests_)));

  const LogprobOptions& logprob = r->request.logprob;
  const bool prompt_logprobs = logprob.enabled && logprob.start_len >= 0;
  SequenceSpec spec{.id = r->id,
                    .prompt = r->request.input_ids,
                    .max_new_tokens = r->request.sampling.max_new_tokens,
                    .ignore_eos = r->request.sampling.ignore_eos,
                    .priority = r->request.priority,
                    .cache_namespace = r->request.cache_namespace,
                    .max_cached_tokens = -1,
                    .insert_into_cache = !r->request.health_probe,
                    .insert_generated = r->request.cache_generated,
                    .health_probe = r->request.health_probe};
  // The entry of position s needs the logits of position s - 1.
  if (prompt_logprobs) spec.max_cached_tokens = std::max(logprob.start_len - 1, 0);
  if (!r->request.use_prefix_cache) spec.max_cached_tokens = 0;
  r->next_input_logprob =
      prompt_logprobs ? logprob.start_len : static_cast<int32_t>(spec.prompt.size());
  if (r->request.sampling.penalizes()) r->generated.reserve(r->request.sampling.max_new_tokens);
  if (r->request.grammar) {
    auto grammar = GrammarState::create(r->request.grammar, r->request.sampling.grammar->starts_after);
    if (!grammar) return finish(*r, FinishReason::abort(grammar.error().message, 500));
    r->grammar = std::move(*grammar);
  }
  const Status added = scheduler().add(std::move(spec));
  if (!added) finish(*r, FinishReason::abort(added.error().message, 503));
  for (const SequenceId id : scheduler().take_displaced()) {
    finish(*in_flight_.at(id),
           FinishReason::abort("The request is aborted by a higher priority request.", 503));
  }
}

void EngineLoop::handle(DropRequest& message) {
  scheduler().abort(message.id);
  in_flight_.erase(message.id);
}

void EngineLoop::handle(AbortRequests& message) {
  std::vector<InFlight*> hit;
  for (const auto& [id, r] : in_flight_) {
    const bool named = !r->request.health_probe && r->request.rid.starts_with(message.rid_prefix);
    if (message.all || named) hit.push_back(r.get());
  }
  for (InFlight* r : hit) {
    scheduler().abort(r->id);
    finish(*r, FinishReason::aborted(r->admitted, r->request.embed));
  }
}

void EngineLoop::handle(FlushCache& message) { flushes_.push_back(std::move(message)); }

void EngineLoop::answer_flushes() {
  const TimePoint now = std::chrono::steady_clock::now();
  while (!flushes_.empty()) {
    const bool flushed = scheduler().flush_cache();
    const auto due =
        flushed ? flushes_.begin() : std::ranges::find_if(flushes_, [&](const FlushCache& flush) {
          return now >= flush.deadline;
        });
    if (due == flushes_.end()) return;
    const SchedulerStats s = scheduler().stats();
    if (flushed) {
      log::info("Cache flushed successfully!");
    } else {
      log::info(
          "Cache not flushed because there are pending requests. #queue-req: {}, #running-req: {}",
          s.queued, s.running);
    }
    // Out of the list first: what throws is not called again.
    const FlushCache flush = std::move(*due);
    flushes_.erase(due);
    flush.done(flushed);
  }
}

// One step: forward, sample, commit, tell. A failure inside ends the requests of this step alone.
void EngineLoop::step(const StepPlan& plan) {
  for (const SequenceStep& s : plan.sequences) {
    InFlight& r = *in_flight_.at(s.id);
    r.retractions = s.retractions;
    if (s.first_step && !r.admitted) {
      r.admitted = true;
      r.cached_tokens = s.cached_tokens;
      r.queue_seconds = clock_.now() - r.arrival;
    }
  }
  const auto lap = [&](const char* phase) {
    return step_clock_.lap(phase, next_.steps, plan.prompt_rows, plan.decode_rows);
  };
  lap("schedule");
  begin_masks(plan);
  try {
    runner_.forward(plan);
    count_pass(plan, lap("forward"));
    masks_.finish();
    lap("masks");
    sample(plan);
    lap("sample");
  } catch (const std::exception& error) {
    masks_.finish();
    fail_step(plan, error.what());
    ++next_.steps;
    return;
  }
  report(plan);
  scheduler().commit(committed_);  // the plan's contents end here
  post_events();
  step_clock_.lap("commit", next_.steps - 1);
  step_clock_.step_done();
  sleep_after_step();
}

void EngineLoop::begin_masks(const StepPlan& plan) {
  std::vector<GrammarState*> states;
  for (const SequenceStep& s : plan.sequences) {
    const InFlight& r = *in_flight_.at(s.id);
    if (s.samples && r.grammar) states.push_back(r.grammar.get());
  }
  masks_.begin(std::move(states));
}

std::span<const uint32_t> EngineLoop::allowed_by_grammar(InFlight& r) {
  if (!r.grammar) return {};
  const auto mask = r.grammar->mask();
  if (mask) return *mask;
  r.failure = mask.error().message;
  return {};
}

void EngineLoop::sample(const StepPlan& plan) {
  rows_.clear();
  int32_t first_row = 0;
  for (const SequenceStep& s : plan.sequences) {
    InFlight& r = *in_flight_.at(s.id);
    const bool draws = s.samples && r.request.sampling.max_new_tokens > 0;
    if (draws) {
      rows_.push_back(
          {.logits = nullptr,
           .params = &r.request.sampling,
           .logprob = &r.request.logprob,
           .counts = &r.generated,
           .stop_ids = plan_.model.eos_tokens,
           .allowed = allowed_by_grammar(r),
           .banned = r.thoughts.banned(),
           .forced = r.thoughts.forced(),
           .instead_of_stop = r.request.sampling.ignore_eos ? -1 : r.thoughts.instead_of_stop(),
           .seed = r.seed,
           .position = static_cast<uint64_t>(s.first_position + s.rows)});
    }
    if (s.is_prompt) collect_prompt_logprobs(s, first_row, r);
    if (s.samples && r.request.embed) {
      const auto hidden = runner_.hidden(first_row + s.rows - 1);
      r.event.embedding.assign(hidden.begin(), hidden.end());
      r.broken |= !std::ranges::all_of(hidden, [](float x) { return std::isfinite(x); });
    }
    first_row += s.rows;
  }
  size_t row = 0;
  int32_t logits = 0;
  for (const SequenceStep& s : plan.sequences) {
    if (!s.samples) continue;
    const InFlight& r = *in_flight_.at(s.id);
    if (r.request.sampling.max_new_tokens > 0) rows_[row++].logits = runner_.logits(logits);
    ++logits;
  }
  sampler_.sample(rows_);

  committed_.clear();
  row = 0;
  for (const SequenceStep& s : plan.sequences) {
    InFlight& r = *in_flight_.at(s.id);
    const bool draws = s.samples && r.request.sampling.max_new_tokens > 0;
    committed_.push_back(conclude(s, draws ? &rows_[row++] : nullptr, r));
  }
}

void EngineLoop::collect_prompt_logprobs(const SequenceStep& s, int32_t first_row, InFlight& r) {
  const std::vector<int32_t>& prompt = r.request.input_ids;
  const int32_t end = std::min(s.first_position + s.rows + 1, static_cast<int32_t>(prompt.size()));
  if (r.next_input_logprob == 0 && r.next_input_logprob < end) {
    r.event.input_logprobs.push_back({.token = {std::nullopt, prompt[0]}, .top = {}, .chosen = {}});
    r.next_input_logprob = 1;
  }
  std::vector<int32_t> rows;
  while (r.next_input_logprob < end) {
    rows.clear();
    const int32_t first = r.next_input_logprob;
    for (int32_t p = first; p < end && static_cast<int32_t>(rows.size()) < Runner::kPiece; ++p) {
      rows.push_back(first_row + p - 1 - s.first_position);
    }
    r.broken |= !sampler_.prompt_logprobs(
        runner_.logits_of(rows), std::span(prompt).subspan(static_cast<size_t>(first), rows.size()),
        r.request.logprob, r.event.input_logprobs);
    r.next_input_logprob += static_cast<int32_t>(rows.size());
  }
}

Committed EngineLoop::conclude(const SequenceStep& s, SampleRow* row, InFlight& r) {
  Committed result{.id = s.id, .token = std::nullopt, .finished = false};
  if (!s.samples) return result;
  if (!r.failure.empty()) {
    r.event.finish = FinishReason::abort(r.failure, 400);
    result.finished = true;
    return result;
  }
  if (r.broken || (row && row->token < 0)) {
    r.event.finish = FinishReason::abort(
        fmt::format("The model's {} token {} (step {}).",
                    r.broken ? "output is not finite at or before" : "logits are not finite after",
                    s.first_position + s.rows - 1, next_.steps),
        500);
    log::error("rid {}: {}", r.request.rid, r.event.finish->message);
    result.finished = true;
    result.discard_kv = true;
    return result;
  }
  if (!row) {  // max_new_tokens 0: the prompt was all
    r.event.finish = FinishReason::length_limit(0);
    result.finished = true;
    return result;
  }
  if (r.request.logprob.enabled) r.event.output_logprobs.push_back(std::move(row->logprobs));
  result.token = row->token;
  if (row->replaced) r.thoughts.close();
  append(r, row->token);
  // Jump forward: what the grammar forces is not sampled, and its rows are computed in one step.
  // Under logprobs each token has a step of its own; the tokens are the same.
  if (r.grammar && !r.request.logprob.enabled) {
    while (!r.event.finish) {
      const auto forced = r.grammar->forced_tokens();
      if (forced.empty()) break;
      append(r, forced[0]);
    }
    result.forced = std::span<const int32_t>(r.event.tokens.data(), r.event.tokens.size()).subspan(1);
  }
  result.finished = r.event.finish.has_value();
  return result;
}

void EngineLoop::append(InFlight& r, int32_t token) {
  const SamplingParams& p = r.request.sampling;
  r.generated.add(token, p.penalizes());
  r.thoughts.add(token);
  r.event.tokens.push_back(token);
  if (r.grammar) {
    if (const Status goes_on = r.grammar->accept(token); !goes_on) {
      r.event.finish = FinishReason::abort(goes_on.error().message, 400);
      return;
    }
  }
  const std::vector<int32_t>& eos = plan_.model.eos_tokens;
  const bool stops = !p.ignore_eos && (std::ranges::find(eos, token) != eos.end() ||
                                       std::ranges::binary_search(p.stop_token_ids, token));
  if (stops || (r.grammar && r.grammar->ended())) {
    r.event.finish = FinishReason::stop_token(token);
  } else if (r.generated.total >= p.max_new_tokens) {
    r.event.finish = FinishReason::length_limit(r.generated.total);
  }
}

void EngineLoop::fail_step(const StepPlan& plan, const std::string& why) {
  log::error("step {} failed: {}", next_.steps, why);
  std::vector<SequenceId> ids;
  for (const SequenceStep& s : plan.sequences) ids.push_back(s.id);
  for (const SequenceId id : ids) {
    scheduler().abort(id);
    finish(*in_flight_.at(id), FinishReason::abort("Internal server error: " + why, 500));
  }
}

// Ends a request outside a step's normal course.
void EngineLoop::finish(InFlight& r, FinishReason reason) {
  TokenEvent event;
  event.finish = std::move(reason);
  deliver(r, std::move(event));
  in_flight_.erase(r.id);
}

void EngineLoop::post_events() {
  for (const Committed& c : committed_) {
    InFlight& r = *in_flight_.at(c.id);
    const bool done = r.event.finish.has_value();
    if (r.event.tokens.empty() && !done) continue;
    const bool delivered = deliver(r, std::exchange(r.event, {}));
    if (!delivered) scheduler().abort(c.id);
    if (done || !delivered) in_flight_.erase(c.id);
  }
}

// False when the receiver failed: it has lost an event and shall get no other.
bool EngineLoop::deliver(InFlight& r, TokenEvent&& event) {
  event.prompt_tokens = static_cast<int32_t>(r.request.input_ids.size());
  event.completion_tokens = static_cast<int32_t>(r.generated.total);
  event.cached_tokens = r.cached_tokens;
  event.retractions = r.retractions;
  event.queue_seconds = r.queue_seconds;
  try {
    r.on_tokens(std::move(event));
    return true;
  } catch (const std::exception& error) {
    log::error("rid {}: an event could not be delivered: {}", r.request.rid, error.what());
    return false;
  }
}

// Log lines of SGLang's form (spec: scheduler-and-cache 7), and the counters behind the metrics.
void EngineLoop::report(const StepPlan& plan) {
  const double now = clock_.now();
  const SchedulerStats s = scheduler().stats();
  const double usage = s.total_tokens > 0 ? static_cast<double>(s.used_tokens) / s.total_tokens : 0;
  ++next_.steps;
  last_step_ = now;
  next_.decode_tokens += plan.decode_rows;
  next_.prefill_compute_tokens += plan.prompt_rows;
  for (const Committed& c : committed_) {
    if (c.token) generated_since_report_ += 1 + static_cast<int64_t>(c.forced.size());
  }

  if (plan.prompt_rows > 0) {
    int32_t new_sequences = 0;
    int32_t cached = 0;
    int64_t pending = s.queued_tokens;  // and what is left of prompts that began
    for (const SequenceStep& step : plan.sequences) {
      if (!step.is_prompt) continue;
      ++new_sequences;
      if (step.first_step) cached += step.cached_tokens;
      if (!step.samples) {
        const InFlight& r = *in_flight_.at(step.id);
        pending +=
            std::ssize(r.request.input_ids) + r.generated.total - step.first_position - step.rows;
      }
      if (step.retractions == 0) next_.first_prefill_compute_tokens += step.rows;
    }
    next_.prefill_cache_tokens += cached;
    next_.cache_hit_rate = static_cast<double>(cached) / (cached + plan.prompt_rows);
    const double rate = plan.prompt_rows / std::max(now - last_prefill_report_, 1e-9);
    last_prefill_report_ = now;
    log::info(
        "Prefill batch{} #new-seq: {}, #new-token: {}, #cached-token: {}, token usage: {:.2f}, "
        "#running-req: {}, #queue-req: {}, #pending-token: {}, cuda graph: False, "
        "input throughput (token/s): {:.2f}, ",
        plan_.options.new_log_style ? "," : ".", new_sequences, plan.prompt_rows, cached, usage,
        static_cast<int32_t>(plan.sequences.size()) - new_sequences, s.queued, pending, rate);
  }
  if (plan.decode_rows == 0 || ++decode_steps_ % decode_log_interval_ != 0) return;
  next_.gen_throughput = static_cast<double>(generated_since_report_) /
                         std::max(now - last_decode_report_, 1e-9);
  generated_since_report_ = 0;
  last_decode_report_ = now;
  log::info(
      "Decode batch{} #running-req: {}, #token: {}, token usage: {:.2f}, "
      "cuda graph: False, gen throughput (token/s): {:.2f}, #queue-req: {}, ",
      plan_.options.new_log_style ? "," : ".", plan.decoding, s.used_tokens, usage,
      next_.gen_throughput, s.queued);
}

void EngineLoop::count_pass(const StepPlan& plan, double seconds) {
  EngineStats::Passes& passes = plan.prompt_rows == 0   ? next_.decode_passes
                                : plan.decode_rows == 0 ? next_.prefill_passes
                                                        : next_.mixed_passes;
  ++passes.count;
  passes.seconds += seconds;
}

void EngineLoop::publish() {
  const SchedulerStats s = scheduler().stats();
  next_.running = s.running;
  next_.queued = s.queued;
  next_.queued_tokens = s.queued_tokens;
  next_.total_tokens = s.total_tokens;
  next_.available_tokens = s.available_tokens;
  next_.evictable_tokens = s.evictable_tokens;
  next_.used_tokens = s.used_tokens;
  next_.token_usage = s.total_tokens > 0 ? static_cast<double>(s.used_tokens) / s.total_tokens : 0;
  next_.new_token_ratio = s.new_token_ratio;
  next_.retractions = s.retractions;
  next_.evicted_tokens = s.evicted_tokens;
  next_.evictions = s.evictions;
  next_.retracted_input_tokens = s.retracted_input_tokens;
  next_.retracted_output_tokens = s.retracted_output_tokens;
  next_.context_tokens = s.context_tokens;
  next_.paused = paused_ || !updates_.empty();
  next_.last_step_seconds_ago = last_step_;
  if (scheduler().idle()) scheduler().check_books();
  std::lock_guard lock(stats_mutex_);
  stats_ = next_;
}

EngineStats EngineLoop::stats() const {
  std::lock_guard lock(stats_mutex_);
  EngineStats stats = stats_;
  stats.last_step_seconds_ago = SteadyClock().now() - stats.last_step_seconds_ago;
  return stats;
}

}  // namespace fathom
