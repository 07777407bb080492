#include "server/generation/flow.h"

#include <algorithm>

namespace fathom {
namespace {

using boost::asio::awaitable;

constexpr size_t kManyLogprobs = 50000;  // to write them takes some ten milliseconds

double seconds_between(Flow::Clock::time_point from, Flow::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

http::Response event_stream() {
  http::Response head;
  head.content_type = "text/event-stream; charset=utf-8";
  head.headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  return head;
}

}  // namespace

Flow::Flow(const GenerationHandlers::Submit& submit, TextPool& pool, Metrics* metrics,
           const OnFinished& on_finished, http::Responder& responder, api::Prepared prepared,
           std::unique_ptr<api::Format> format, Shape shape)
    : submit_(submit),
      pool_(pool),
      metrics_(metrics),
      on_finished_(on_finished),
      responder_(responder),
      requests_(std::move(prepared.requests)),
      choices_(std::move(prepared.choices)),
      format_(std::move(format)),
      shape_(shape),
      channel_(std::make_shared<http::Channel<News>>(responder.executor())),
      progress_(choices_.size()),
      unfinished_(choices_.size()),
      times_(choices_.size() / static_cast<size_t>(shape_.samples)),
      tokenize_seconds_(seconds_between(shape_.start, Clock::now())) {
  format_->set_prompts(std::move(prepared.prompt_ids));
}

std::expected<void, api::Failure> Flow::submit_all() {
  for (size_t i = 0; i < requests_.size(); ++i) {
    auto on_tokens = [channel = channel_, i](TokenEvent&& event) {
      try {
        channel->push({i, std::move(event)});
      } catch (...) {
        channel->close();  // else the client would wait for what is lost
        throw;
      }
    };
    progress_[i].stream = TRY(submit_(std::move(requests_[i]), std::move(on_tokens)));
    progress_[i].last = shape_.start;
  }
  requests_.clear();
  return {};
}

awaitable<void> Flow::run() {
  responder_.on_disconnect([channel = channel_] { channel->close(); });
  if (auto submitted = submit_all(); !submitted) {
    progress_.clear();
    co_return co_await send_failure(submitted.error());
  }
  // Nothing is sent before the first event: what fails until then is a plain HTTP error.
  bool connected = co_await next();
  if (connected && failure_) {
    progress_.clear();
    report(true);
    co_return co_await send_failure(*failure_);
  }
  if (shape_.stream) {
    if (connected) connected = co_await stream_until_end();
  } else {
    while (connected && !done() && !failure_) connected = co_await next();
    if (connected) co_await answer();
  }
  const bool cut = !connected || failure_ || !done();
  progress_.clear();
  report(cut);
}

awaitable<bool> Flow::next() {
  for (;;) {
    auto news = co_await channel_->pop();
    if (!news) co_return false;
    api::Choice& choice = choices_[news->index];
    if (choice.finish()) continue;  // overshoot of a choice that a stop string has ended
    Progress& progress = progress_[news->index];
    const int64_t before = choice.completion_tokens();
    choice.push(std::move(news->event));
    newest_ = news->index;
    observe(progress, choice.completion_tokens() - before);
    if (choice.finish()) {
      --unfinished_;
      times_of(newest_).end = seconds();
      if (choice.stopped_by_text()) progress.stream.stop();
      if (choice.failed() && !failure_) failure_ = api::failure_of(*choice.finish());
    }
    co_return true;
  }
}

bool Flow::chunk_due(size_t index) const {
  const api::Choice& choice = choices_[index];
  const Progress& progress = progress_[index];
  const auto unsent = choice.ids().size() - progress.sent_tokens;
  return !progress.began || choice.finish() ||
         static_cast<int64_t>(unsent) >= shape_.stream_interval;
}

template <class Write>
awaitable<void> Flow::write_json(std::span<const api::Choice> choices, Write write) {
  size_t logprobs = 0;
  for (const api::Choice& choice : choices) {
    for (const auto* list : {&choice.input_logprobs(), &choice.output_logprobs()}) {
      if (!list->empty()) logprobs += list->size() * (1 + list->back().top.size() + list->back().chosen.size());
    }
  }
  if (logprobs < kManyLogprobs) {
    write();
    co_return;
  }
  co_await pool_.run(kLongTextBytes, [&] {
    write();
    return true;
  });
}

awaitable<bool> Flow::stream_until_end() {
  if (!co_await responder_.begin_stream(event_stream())) co_return false;
  api::Format::Events events;
  for (;;) {
    if (failure_) {
      format_->append_failure(events, *failure_);
      break;
    }
    if (chunk_due(newest_)) {
      Progress& progress = progress_[newest_];
      progress.began = true;
      progress.sent_tokens = choices_[newest_].ids().size();
      const api::Choice& newest = choices_[newest_];
      co_await write_json({&newest, 1}, [&] { format_->append_chunk(events, newest_, newest); });
      if (!co_await send_events(events)) co_return false;
    }
    if (done()) {
      format_->append_closing(events, choices_);
      break;
    }
    if (!co_await next()) co_return false;
  }
  if (const auto last = format_->terminator(); !last.empty()) events.emplace_back(last);
  if (!co_await send_events(events)) co_return false;
  co_return co_await responder_.end_stream();
}

awaitable<bool> Flow::send_events(api::Format::Events& events) {
  // One event per HTTP chunk: some clients take a chunk for an event.
  for (auto& event : std::exchange(events, {})) {
    if (!co_await responder_.write(std::move(event))) co_return false;
  }
  co_return true;
}

awaitable<void> Flow::answer() {
  if (failure_) co_return co_await send_failure(*failure_);
  http::Response response;
  co_await write_json(choices_, [&] { response.body = format_->answer(choices_); });
  co_await responder_.send(std::move(response));
}

awaitable<void> Flow::send_failure(const api::Failure& failure) {
  http::Response response;
  response.status = failure.status;
  response.body = api::error_body(failure, format_->error_shape());
  if (failure.status == 503) response.headers.emplace_back("Retry-After", "1");
  co_await responder_.send(std::move(response));
}

void Flow::observe(const Progress& progress, int64_t new_tokens) {
  if (new_tokens == 0) return;
  const auto now = Clock::now();
  const bool first = choices_[newest_].completion_tokens() == new_tokens;
  const double gap = seconds_between(progress.last, now);
  progress_[newest_].last = now;
  if (Times& times = times_of(newest_); first && times.first_token == 0) {
    times.first_token = seconds_between(shape_.start, now);
    if (metrics_) metrics_->first_token(times.first_token);
  }
  if (!first && metrics_) metrics_->inter_token(gap, new_tokens);
}

double Flow::seconds() const {
  return seconds_between(shape_.start, Clock::now());
}

void Flow::report(bool cut) {
  if (metrics_) {
    for (size_t i = 0; i < times_.size(); ++i) metrics_->finished(summary(i, 1, cut));
  }
  if (on_finished_) on_finished_(summary(0, times_.size(), cut));
}

FinishedRequest Flow::summary(size_t first_prompt, size_t prompts, bool cut) const {
  const auto samples = static_cast<size_t>(shape_.samples);
  const auto choices = std::span(choices_).subspan(first_prompt * samples, prompts * samples);
  FinishedRequest finished{.rid = choices[0].rid(),
                           .path = shape_.path,
                           .trace_parent = shape_.trace_parent,
                           .samples = static_cast<int64_t>(choices.size()),
                           .streaming = shape_.stream,
                           .aborted = cut,
                           .tokenize_seconds = tokenize_seconds_,
                           .total_seconds = cut ? seconds() : 0};
  for (size_t i = 0; i < choices.size(); ++i) {
    const api::Choice& choice = choices[i];
    finished.generated_tokens += choice.completion_tokens();
    finished.queue_seconds = std::max(finished.queue_seconds, choice.queue_seconds());
    finished.aborted |= choice.finish() && choice.finish()->kind == FinishReason::Kind::kAbort;
    if (i % samples != 0) continue;
    finished.prompt_tokens += choice.prompt_tokens();
    finished.cached_tokens += choice.cached_tokens();
  }
  for (const Times& times : std::span(times_).subspan(first_prompt, prompts)) {
    finished.total_seconds = std::max(finished.total_seconds, times.end);
    double& first_token = finished.first_token_seconds;
    if (first_token == 0 || (times.first_token > 0 && times.first_token < first_token)) {
      first_token = times.first_token;
    }
  }
  const auto& end = choices[0].finish();
  finished.finish_reason = !end || end->kind == FinishReason::Kind::kAbort ? "abort"
                           : end->kind == FinishReason::Kind::kStop        ? "stop"
                                                                           : "length";
  finished.arrival = std::chrono::system_clock::now() -
                     std::chrono::duration_cast<std::chrono::system_clock::duration>(
                         std::chrono::duration<double>(seconds()));
  return finished;
}

}  // namespace fathom
