#include "server/engine_control.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "http/channel.h"

namespace fathom {
namespace {

namespace asio = http::asio;
using Steady = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kProgressCheck{200};

class RealEngine final : public EngineControl {
 public:
  explicit RealEngine(Engine& engine) : engine_(engine) {}

  EngineStats stats() const override { return engine_.stats(); }
  void abort_prefix(std::string rid_prefix) override {
    engine_.abort_prefix(std::move(rid_prefix));
  }
  void abort_all() override { engine_.abort_all(); }
  asio::awaitable<bool> flush_cache(asio::any_io_executor executor,
                                    double timeout_seconds) override {
    auto answer = std::make_shared<http::Channel<bool>>(executor);
    engine_.flush_cache(timeout_seconds, [answer](bool flushed) { answer->push(flushed); });
    co_return (co_await answer->pop()).value_or(false);
  }
  void pause(PauseMode mode) override { engine_.pause(mode); }
  void resume() override { engine_.resume(); }
  void tune(const EngineTuning& tuning) override { engine_.tune(tuning); }
  void start_profile(ProfileRequest request) override { engine_.start_profile(std::move(request)); }
  void stop_profile() override { engine_.stop_profile(); }
  void start_expert_record() override { engine_.start_expert_record(); }
  void stop_expert_record() override { engine_.stop_expert_record(); }
  ExpertCounts expert_counts() override { return engine_.expert_counts(); }
  Status update_weights(WeightUpdate update) override {
    return engine_.update_weights(std::move(update));
  }

  asio::awaitable<bool> probe(asio::any_io_executor executor, double timeout_seconds) override {
    GenerateRequest request;
    request.rid = "HEALTH_CHECK_" + std::to_string(next_probe_++);
    request.input_ids = {0};
    request.sampling.max_new_tokens = 1;
    request.sampling.temperature = 0;
    request.use_prefix_cache = false;
    request.health_probe = true;

    auto wake = std::make_shared<asio::steady_timer>(executor);
    auto answered = std::make_shared<std::atomic<bool>>(false);
    const int64_t steps_before = engine_.stats().steps;
    const auto stream = engine_.submit(std::move(request), [=](TokenEvent&&) {
      *answered = true;
      asio::post(executor, [wake] { wake->cancel(); });
    });
    if (!stream) co_return false;

    const auto end = Steady::now() + std::chrono::duration_cast<Steady::duration>(
                                         std::chrono::duration<double>(timeout_seconds));
    // A full batch keeps the probe waiting; steps are as good a sign of life. So does a pause, in
    // which there are none.
    const auto waits = [&] {
      const EngineStats stats = engine_.stats();
      return !*answered && !stats.paused && stats.steps == steps_before;
    };
    while (waits()) {
      if (Steady::now() >= end) co_return false;
      wake->expires_at(std::min(end, Steady::now() + kProgressCheck));
      co_await wake->async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return true;
  }

 private:
  Engine& engine_;
  std::atomic<uint64_t> next_probe_{1};
};

}  // namespace

std::unique_ptr<EngineControl> control_of(Engine& engine) {
  return std::make_unique<RealEngine>(engine);
}

}  // namespace fathom
