// One generating request from a prepared job to its last byte. Runs on the connection's executor.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "api/format.h"
#include "api/job.h"
#include "http/channel.h"
#include "http/server.h"
#include "server/generation/generation.h"
#include "server/generation/text_pool.h"
#include "server/telemetry/metrics.h"

namespace fathom {

class Flow {
 public:
  using Clock = std::chrono::steady_clock;
  struct Shape {
    bool stream = false;
    int64_t stream_interval = 1;
    int64_t samples = 1;  // per prompt
    Clock::time_point start;
    std::string path;          // of the request
    std::string trace_parent;  // its header traceparent
  };

  // All references outlive run().
  Flow(const GenerationHandlers::Submit& submit, TextPool& pool, Metrics* metrics,
       const OnFinished& on_finished, http::Responder& responder, api::Prepared prepared, std::unique_ptr<api::Format> format, Shape shape);

  boost::asio::awaitable<void> run();

 private:
  struct News {
    size_t index;
    TokenEvent event;
  };
  struct Progress {
    TokenStream stream;
    size_t sent_tokens = 0;
    bool began = false;
    Clock::time_point last;
  };

  // Of one prompt, in seconds since the request came; 0: not yet.
  struct Times {
    double first_token = 0;
    double end = 0;
  };

  std::expected<void, api::Failure> submit_all();
  // Waits for one event and gives it to its choice; false: the client is gone.
  boost::asio::awaitable<bool> next();
  boost::asio::awaitable<bool> stream_until_end();
  boost::asio::awaitable<bool> send_events(api::Format::Events& events);
  boost::asio::awaitable<void> answer();
  boost::asio::awaitable<void> send_failure(const api::Failure& failure);
  bool chunk_due(size_t index) const;
  // Writes JSON: here, or on the pool when a million logprobs would hold up all other connections.
  template <class Write>
  boost::asio::awaitable<void> write_json(std::span<const api::Choice> choices, Write write);
  bool done() const { return unfinished_ == 0; }
  void observe(const Progress& progress, int64_t new_tokens);
  double seconds() const;  // since the request came
  Times& times_of(size_t index) { return times_[index / static_cast<size_t>(shape_.samples)]; }
  // To the metrics each prompt is a request, to everybody else all of them are one.
  void report(bool cut);
  FinishedRequest summary(size_t first_prompt, size_t prompts, bool cut) const;

  const GenerationHandlers::Submit& submit_;
  TextPool& pool_;
  Metrics* metrics_;
  const OnFinished& on_finished_;
  http::Responder& responder_;
  std::vector<GenerateRequest> requests_;
  std::vector<api::Choice> choices_;
  std::unique_ptr<api::Format> format_;
  Shape shape_;

  std::shared_ptr<http::Channel<News>> channel_;
  std::vector<Progress> progress_;  // destroying a stream aborts its request
  size_t unfinished_;
  size_t newest_ = 0;  // choice of the last event
  std::optional<api::Failure> failure_;
  std::vector<Times> times_;  // per prompt
  double tokenize_seconds_;
};

}  // namespace fathom
