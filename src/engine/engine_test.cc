// The engine thread against a model whose output shows every wrong cache row: what clients get when
// requests are aborted, retracted, refused, poisoned or in a step that fails, and that neighbours and
// the books stay whole.
#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <stdexcept>
#include <thread>

#include "engine/loop.h"
#include "engine/testing/engine_rig.h"

namespace fathom {
namespace {

using Kind = FinishReason::Kind;

void expect_whole(const Answer& answer, const std::vector<int32_t>& prompt, int64_t count) {
  EXPECT_EQ(answer.tokens, FakeModel::continuation(prompt, count));
  EXPECT_EQ(answer.finish.kind, Kind::kLength) << answer.finish.message;
  EXPECT_EQ(answer.finishes, 1);
}

TEST(Engine, EveryRequestGetsItsOwnTokens) {
  EngineRig rig({.pool = 600, .max_running = 5, .chunk = 16});
  std::vector<Call> calls;
  const auto prompt = [](int i) { return prompt_of(1 + i * 7 % 90, i % 6); };
  for (int i = 0; i < 40; ++i) calls.push_back(rig.submit(prompt(i), 1 + i % 13));
  for (int i = 0; i < 40; ++i) expect_whole(calls[static_cast<size_t>(i)].wait(), prompt(i), 1 + i % 13);
  rig.expect_clean();
}

TEST(Engine, StopTokenEndsARequest) {
  EngineRig rig({});
  const auto prompt = prompt_of(9, 1);
  const auto expected = FakeModel::continuation(prompt, 20);
  GenerateRequest request = request_for(prompt, 20);
  request.sampling.stop_token_ids = {expected[4]};
  const Answer answer = rig.submit(std::move(request)).wait();
  EXPECT_EQ(answer.finish.kind, Kind::kStop);
  EXPECT_EQ(std::get<int32_t>(answer.finish.matched), expected[4]);
  const auto end = std::find(expected.begin(), expected.end(), expected[4]) + 1;
  EXPECT_EQ(answer.tokens, std::vector<int32_t>(expected.begin(), end));
}

TEST(Engine, DroppedDuringPrefill) {
  EngineRig rig({.chunk = 16});
  rig.gate.hold();
  Call neighbour = rig.submit(prompt_of(4, 1), 30);
  rig.gate.wait_for_step(1);
  Call dropped = rig.submit(prompt_of(100, 2), 5);
  rig.gate.let(3);
  rig.gate.wait_for_step(4);  // its third chunk of seven is under way
  dropped.stream = TokenStream();
  rig.gate.open();
  expect_whole(neighbour.wait(), prompt_of(4, 1), 30);
  EXPECT_EQ(dropped.now().finishes, 0);
  EXPECT_TRUE(dropped.now().tokens.empty());
  rig.expect_clean();
  expect_whole(rig.submit(prompt_of(100, 2), 5).wait(), prompt_of(100, 2), 5);
}

TEST(Engine, DroppedWhileQueuedOrDecoding) {
  EngineRig rig({.max_running = 1});
  rig.gate.hold();
  Call decoding = rig.submit(prompt_of(4, 1), 500);
  Call queued = rig.submit(prompt_of(5, 2), 5);
  Call last = rig.submit(prompt_of(6, 3), 5);
  rig.gate.let(3);
  rig.gate.wait_for_step(4);
  queued.stream = TokenStream();
  decoding.stream.stop();
  decoding.stream.stop();
  const size_t seen = decoding.now().tokens.size();
  rig.gate.open();
  expect_whole(last.wait(), prompt_of(6, 3), 5);
  EXPECT_EQ(decoding.now().tokens.size(), seen) << "an event came after stop()";
  EXPECT_EQ(decoding.now().finishes + queued.now().finishes, 0);
  rig.expect_clean();
}

TEST(Engine, AbortByRid) {
  EngineRig rig({.max_running = 1});
  rig.gate.hold();
  GenerateRequest first = request_for(prompt_of(4, 1), 500);
  GenerateRequest second = request_for(prompt_of(4, 2), 500);
  first.rid = "job_0";
  second.rid = "job_1";
  Call running = rig.submit(first);
  Call queued = rig.submit(second);
  Call other = rig.submit(prompt_of(4, 3), 5);
  rig.gate.let(2);
  rig.gate.wait_for_step(3);
  rig.engine->abort_prefix("nobody");
  rig.engine->abort_prefix("");  // names nobody, not everybody
  rig.engine->abort_prefix("job_");
  rig.engine->abort_prefix("job_");
  rig.gate.open();
  const Answer aborted = running.wait();
  EXPECT_EQ(aborted.finish.kind, Kind::kAbort);
  EXPECT_EQ(aborted.finish.message, "Aborted");
  EXPECT_EQ(aborted.finish.status_code, 0);
  EXPECT_EQ(queued.wait().finish.message, "Abort in waiting queue");
  expect_whole(other.wait(), prompt_of(4, 3), 5);
  running.stream = TokenStream();
  EXPECT_EQ(running.now().finishes, 1);
  rig.expect_clean();
  expect_whole(rig.submit(first = request_for(prompt_of(4, 1), 3)).wait(), prompt_of(4, 1), 3);
}

TEST(Engine, ARidIsUniqueWhileInFlight) {
  EngineRig rig({});
  rig.gate.hold();
  GenerateRequest request = request_for(prompt_of(4, 1), 3);
  Call call = rig.submit(request);
  const auto again = rig.engine->submit(request, [](TokenEvent&&) { ADD_FAILURE(); });
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kInvalid);
  EXPECT_EQ(again.error().message, "Duplicate request ID detected: " + request.rid);
  rig.gate.open();
  call.wait();
  expect_whole(rig.submit(request).wait(), request.input_ids, 3);
}

TEST(Engine, ProbesAndClientsDoNotMeet) {
  EngineRig rig({});
  rig.gate.hold();
  GenerateRequest probe = request_for(prompt_of(4, 1), 3);
  probe.rid = "HEALTH_CHECK_1";
  probe.health_probe = true;
  GenerateRequest client = request_for(prompt_of(4, 2), 3);
  client.rid = probe.rid;
  Call probing = rig.submit(probe);
  Call call = rig.submit(client);
  rig.engine->abort_prefix("HEALTH");
  rig.gate.open();
  EXPECT_EQ(call.wait().finish.kind, Kind::kAbort);
  expect_whole(probing.wait(), probe.input_ids, 3);
}

// An abort that came before the request was submitted, but after it began.
TEST(Engine, AbortsMeanThoseOnTheWay) {
  EngineRig rig({});
  const auto arrives = [&](Arrivals::Ticket& ticket, std::string_view rid) {
    return ticket.unless_aborted(rid, [] { return true; }).has_value();
  };
  Arrivals::Ticket first(rig.engine->arrivals());
  EXPECT_TRUE(arrives(first, "a_0"));
  rig.engine->abort_prefix("a_");
  rig.engine->abort_prefix("");  // names nobody
  {
    Arrivals::Ticket second(rig.engine->arrivals());
    EXPECT_TRUE(arrives(second, "a_0"));
    rig.engine->abort_prefix("b");
    EXPECT_TRUE(arrives(second, "a_0"));
    EXPECT_FALSE(arrives(second, "b_0"));
  }
  EXPECT_FALSE(arrives(first, "a_0"));
  EXPECT_FALSE(arrives(first, "b_0"));
  EXPECT_TRUE(arrives(first, "c"));
  rig.engine->pause(PauseMode::kRetract);
  EXPECT_TRUE(arrives(first, "c"));
  rig.engine->pause(PauseMode::kAbort);
  EXPECT_FALSE(arrives(first, "c"));
  rig.engine->resume();
  Arrivals::Ticket third(rig.engine->arrivals());
  EXPECT_TRUE(arrives(third, "c"));
  rig.engine->abort_all();
  EXPECT_FALSE(arrives(third, "c"));
}

TEST(Engine, AFullPoolRetractsAndNobodySeesIt) {
  EngineRig rig({.pool = 96, .max_running = 16, .scheduler = {.conservativeness = 0}});
  std::vector<Call> calls;
  for (int i = 0; i < 12; ++i) calls.push_back(rig.submit(prompt_of(4, i), 40));
  int32_t retractions = 0;
  for (int i = 0; i < 12; ++i) {
    const Answer answer = calls[static_cast<size_t>(i)].wait();
    expect_whole(answer, prompt_of(4, i), 40);
    retractions += answer.retractions;
  }
  EXPECT_GT(retractions, 0) << "the finish event counts them";
  EXPECT_EQ(rig.engine->stats().retractions, retractions);
  rig.expect_clean();
}

TEST(Engine, QueueLimit) {
  EngineRig rig({.max_running = 1, .scheduler = {.max_queued = 1}});
  rig.gate.hold();
  Call running = rig.submit(prompt_of(4, 1), 5);
  rig.gate.wait_for_step(1);
  Call queued = rig.submit(prompt_of(4, 2), 5);
  Call refused = rig.submit(prompt_of(4, 3), 5);
  rig.gate.open();
  const Answer answer = refused.wait();
  EXPECT_TRUE(answer.failed(503));
  EXPECT_EQ(answer.finish.message, "The request queue is full.");
  expect_whole(running.wait(), prompt_of(4, 1), 5);
  expect_whole(queued.wait(), prompt_of(4, 2), 5);
  rig.expect_clean();
}

TEST(Engine, ABurstAtAnIdleServerFillsTheBatch) {
  EngineRig rig({.max_running = 6, .scheduler = {.max_queued = 2}});
  rig.gate.hold();
  Call plug = rig.submit(prompt_of(4, 99), 1);
  rig.gate.wait_for_step(1);  // the rest comes in at once, when the batch has five free places
  std::vector<Call> calls;
  for (int i = 0; i < 12; ++i) calls.push_back(rig.submit(prompt_of(4, i), 5));
  rig.gate.open();
  plug.wait();
  int whole = 0;
  for (int i = 0; i < 12; ++i) {
    const Answer answer = calls[static_cast<size_t>(i)].wait();
    if (answer.failed(503)) continue;
    expect_whole(answer, prompt_of(4, i), 5);
    ++whole;
  }
  EXPECT_EQ(whole, 6 + 2);
}

TEST(Engine, PriorityDecidesWhoIsNext) {
  EngineRig rig({.max_running = 1, .scheduler = {.priority_scheduling = true}});
  rig.gate.hold();
  std::mutex mutex;
  std::vector<int64_t> order;
  std::vector<TokenStream> streams;
  const auto submit = [&](int64_t priority) {
    GenerateRequest request = request_for(prompt_of(4, static_cast<int32_t>(priority)), 2);
    request.priority = priority;
    streams.push_back(rig.engine->submit(request, [&, priority](TokenEvent&& event) {
      std::lock_guard lock(mutex);
      if (event.finish) order.push_back(priority);
    }).value());
  };
  submit(0);
  rig.gate.wait_for_step(1);
  for (const int64_t priority : {1, 7, 3, 5}) submit(priority);
  rig.gate.open();
  rig.expect_clean();
  EXPECT_EQ(order, (std::vector<int64_t>{0, 7, 5, 3, 1}));
}

TEST(Engine, NanEndsItsRequestAlone) {
  EngineRig rig({});
  std::vector<int32_t> poisoned = prompt_of(40, 2);
  poisoned[20] = FakeModel::kPoison;
  for (int round = 0; round < 2; ++round) {
    rig.gate.hold();
    Call before = rig.submit(prompt_of(8, 1), 10);
    Call bad = rig.submit(poisoned, 10);
    Call after = rig.submit(prompt_of(8, 3), 10);
    rig.gate.open();
    const Answer answer = bad.wait();
    EXPECT_TRUE(answer.failed(500));
    EXPECT_THAT(answer.finish.message, testing::HasSubstr("not finite after token 39"));
    EXPECT_TRUE(answer.tokens.empty());
    EXPECT_EQ(answer.cached_tokens, 0) << "its KV was kept";
    expect_whole(before.wait(), prompt_of(8, 1), 10);
    expect_whole(after.wait(), prompt_of(8, 3), 10);
  }
  rig.expect_clean();
}

// Of a request that draws nothing too: its logprobs are the answer.
TEST(Engine, NanInPromptLogprobsIsAnError) {
  EngineRig rig({.chunk = 16});
  std::vector<int32_t> poisoned = prompt_of(40, 2);
  poisoned[20] = FakeModel::kPoison;
  for (const int64_t most : {0, 3}) {
    GenerateRequest request = request_for(poisoned, most);
    request.logprob = {.enabled = true, .start_len = 0, .top_n = 0, .token_ids = {}};
    const Answer answer = rig.submit(std::move(request)).wait();
    EXPECT_TRUE(answer.failed(500));
    EXPECT_THAT(answer.finish.message, testing::HasSubstr("not finite at or before token 39"));
  }
  GenerateRequest sound = request_for(prompt_of(40, 2), 0);
  sound.logprob = {.enabled = true, .start_len = 0, .top_n = 0, .token_ids = {}};
  EXPECT_EQ(rig.submit(std::move(sound)).wait().input_logprobs.size(), 40u);
  rig.expect_clean();
}

constexpr int32_t kBomb = 62;  // a step with this token fails

void explode(const ForwardBatch& batch) {
  for (const int32_t token : batch.tokens) {
    if (token == kBomb) throw std::runtime_error("boom");
  }
}

TEST(Engine, AFailedStepEndsItsRequestsAndNoOthers) {
  EngineRig rig({.max_running = 2}, explode);
  rig.gate.hold();
  Call running = rig.submit(prompt_of(4, 1), 50);
  rig.gate.let(3);
  rig.gate.wait_for_step(4);
  Call bomb = rig.submit({1, 2, kBomb}, 5);
  Call waits = rig.submit(prompt_of(4, 2), 5);
  rig.gate.open();
  for (Call* call : {&running, &bomb}) {
    const Answer answer = call->wait();
    EXPECT_TRUE(answer.failed(500));
    EXPECT_EQ(answer.finish.message, "Internal server error: boom");
    EXPECT_EQ(answer.finishes, 1);
  }
  expect_whole(waits.wait(), prompt_of(4, 2), 5);
  rig.expect_clean();
}

TEST(Engine, StepsThatFailCountAsSteps) {
  EngineRig rig({}, explode);
  for (int i = 0; i < 5; ++i) rig.submit({kBomb}, 1).wait();
  rig.expect_clean();
  EXPECT_EQ(rig.engine->stats().steps, 5);  // the watchdog sees a living engine
}

TEST(Engine, AReceiverThatThrowsLosesItsRequestAlone) {
  EngineRig rig({});
  rig.gate.hold();
  const TokenStream bad = rig.engine->submit(request_for(prompt_of(4, 1), 100), [](TokenEvent&&) {
    throw std::runtime_error("no memory for events");
  }).value();
  Call good = rig.submit(prompt_of(4, 2), 10);
  rig.gate.open();
  expect_whole(good.wait(), prompt_of(4, 2), 10);
  rig.expect_clean();
  EXPECT_LT(rig.engine->stats().decode_tokens, 30);
}

TEST(Engine, PromptLogprobsComeAtOnceWhateverTheChunks) {
  EngineRig rig({.chunk = 16});
  const auto prompt = prompt_of(70, 1);
  for (const int32_t start : {0, 1, 30}) {
    GenerateRequest request = request_for(prompt, 3);
    request.logprob = {.enabled = true, .start_len = start, .top_n = 0, .token_ids = {}};
    const Answer answer = rig.submit(request).wait();
    expect_whole(answer, prompt, 3);
    EXPECT_EQ(answer.input_logprob_events, 1);
    ASSERT_EQ(answer.input_logprobs.size(), prompt.size() - static_cast<size_t>(start));
    for (size_t i = 0; i < answer.input_logprobs.size(); ++i) {
      EXPECT_EQ(answer.input_logprobs[i].token.id, prompt[i + static_cast<size_t>(start)]);
    }
  }
}

TEST(Engine, RunningRequestsShowDuringTheirFirstStep) {
  EngineRig rig({});
  rig.gate.hold();
  Call call = rig.submit(prompt_of(4, 1), 3);
  rig.gate.wait_for_step(1);
  EXPECT_EQ(rig.engine->stats().running, 1);  // a step that never ends is seen by the watchdog
  rig.gate.open();
  call.wait();
}

TEST(Engine, APauseKeepsNothingOfWhatEndsInIt) {
  EngineRig rig({.max_running = 1});
  const auto expect_empty = [&rig] {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    EngineStats stats;
    do {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      stats = rig.engine->stats();
    } while ((stats.running > 0 || stats.queued > 0) && std::chrono::steady_clock::now() < end);
    EXPECT_TRUE(stats.paused);
    EXPECT_EQ(stats.running + stats.queued, 0);
    EXPECT_EQ(stats.queued_tokens, 0);
    EXPECT_EQ(stats.used_tokens, 0);
  };
  rig.gate.hold();
  Call running = rig.submit(prompt_of(4, 1), 500);
  Call queued = rig.submit(prompt_of(5, 2), 500);
  rig.gate.let(1);
  rig.gate.wait_for_step(2);
  rig.engine->pause(PauseMode::kAbort);
  rig.gate.open();
  EXPECT_EQ(running.wait().finish.kind, Kind::kAbort);
  EXPECT_EQ(queued.wait().finish.kind, Kind::kAbort);
  expect_empty();
  rig.engine->resume();

  rig.gate.hold();
  Call left = rig.submit(prompt_of(4, 3), 500);
  Call waiting = rig.submit(prompt_of(5, 4), 500);
  rig.gate.wait_for_step(1);
  rig.engine->pause(PauseMode::kInPlace);
  left.stream = TokenStream();
  waiting.stream = TokenStream();
  rig.gate.open();
  expect_empty();
  rig.engine->resume();
  expect_whole(rig.submit(prompt_of(4, 1), 3).wait(), prompt_of(4, 1), 3);
  rig.expect_clean();
}

TEST(Engine, StopWhileRunning) {
  EngineRig rig({.max_running = 1});
  rig.gate.hold();
  Call running = rig.submit(prompt_of(4, 1), 500);
  Call queued = rig.submit(prompt_of(4, 2), 5);
  rig.gate.let(2);
  rig.gate.wait_for_step(3);
  std::thread stopper([&] { rig.engine->shutdown(0); });
  while (rig.engine->submit(request_for({1}, 1), [](TokenEvent&&) {})) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // the stop has not yet begun
  }
  rig.gate.open();
  EXPECT_TRUE(running.wait().failed(503));
  EXPECT_TRUE(queued.wait().failed(503));
  stopper.join();
  const auto late = rig.engine->submit(request_for({1}, 1), [](TokenEvent&&) { ADD_FAILURE(); });
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kUnavailable);
  EXPECT_FALSE(rig.engine->flush_cache(1));
  rig.engine->shutdown(0);
}

TEST(Engine, GracefulStopFinishesWhatItHas) {
  EngineRig rig({.max_running = 1});
  rig.gate.hold();
  Call running = rig.submit(prompt_of(4, 1), 20);
  Call queued = rig.submit(prompt_of(4, 2), 5);
  std::thread stopper([&] { rig.engine->shutdown(60); });
  rig.gate.open();
  expect_whole(running.wait(), prompt_of(4, 1), 20);
  expect_whole(queued.wait(), prompt_of(4, 2), 5);
  stopper.join();
}

// Whoever was told "submitted" gets exactly one finish event, however late he came.
TEST(Engine, NobodyIsForgottenWhenItStops) {
  for (int round = 0; round < 20; ++round) {
    EngineRig rig({.max_running = 2});
    std::atomic<int> submitted = 0;
    std::atomic<int> finished = 0;
    std::vector<std::thread> clients;
    std::vector<std::vector<TokenStream>> streams(3);
    for (auto& mine : streams) {
      clients.emplace_back([&] {
        for (int i = 0; i < 200; ++i) {
          auto stream = rig.engine->submit(request_for({1, 2, 3}, 2), [&](TokenEvent&& event) {
            finished += event.finish.has_value();
          });
          if (!stream) break;
          ++submitted;
          mine.push_back(std::move(*stream));
        }
      });
    }
    std::thread flusher([&] { rig.engine->flush_cache(0); });
    std::this_thread::sleep_for(std::chrono::microseconds(round * 200));
    std::thread stopper([&] { rig.engine->shutdown(0); });
    rig.engine->shutdown(0);
    stopper.join();
    for (std::thread& client : clients) client.join();
    flusher.join();
    EXPECT_EQ(submitted, finished);
  }
}

// No message wakes the engine when the last running request has ended, for which the update waits.
TEST(Engine, AWeightUpdateFollowsTheLastRunningRequest) {
  const Plan plan = EngineRig::plan_of({});
  Inbox inbox;
  EngineLoop loop(plan, EngineRig::parts_of(plan, {}), inbox);
  const auto done = std::make_shared<std::promise<Status>>();
  auto updated = done->get_future();
  Call running;
  int events = 0;
  inbox.push(AddRequest{
      .id = 1, .request = request_for(prompt_of(4, 1), 3), .on_tokens = [&](TokenEvent&& event) {
        running.receiver()(std::move(event));
        if (++events > 1) return;  // two steps before its end:
        inbox.push(Control{[&](EngineLoop& engine) {
          engine.request_update({.files = FileSet::embedded("<an empty folder>", {})}, done);
        }});
      }});
  std::thread engine([&] { loop.run(); });
  expect_whole(running.wait(), prompt_of(4, 1), 3);
  EXPECT_EQ(updated.wait_for(std::chrono::seconds(60)), std::future_status::ready) << "the engine sleeps";
  inbox.close();
  engine.join();
  EXPECT_THAT(updated.get().error().message, testing::HasSubstr("config.json"));
}

TEST(Engine, LengthRules) {
  EngineRig rig({.pool = 512});
  const auto refusal = [&](std::vector<int32_t> prompt, int64_t max_new) {
    auto stream = rig.engine->submit(request_for(std::move(prompt), max_new), [](TokenEvent&&) {});
    return stream ? std::string() : stream.error().message;
  };
  EXPECT_EQ(refusal({}, 1), "input_ids cannot be empty.");
  EXPECT_THAT(refusal({1, 64}, 1), testing::HasSubstr("input_ids[1]: token id 64 is outside [0, 64)"));
  EXPECT_THAT(refusal({-1}, 1), testing::HasSubstr("input_ids[0]: token id -1"));
  EXPECT_THAT(refusal(prompt_of(2000, 1), 1), testing::HasSubstr("longer than the model's context length"));
  EXPECT_THAT(refusal(prompt_of(600, 1), 1), testing::HasSubstr("exceeds the maximum allowed length (512 tokens)"));
  EXPECT_THAT(refusal(prompt_of(4, 1), 5000), testing::HasSubstr("maximum context length of 1024"));
  EXPECT_THAT(refusal(prompt_of(4, 1), 600), testing::HasSubstr("the KV pool holds 512"));
  expect_whole(rig.submit(prompt_of(12, 1), 500).wait(), prompt_of(12, 1), 500);  // exactly the pool
  rig.expect_clean();
}

TEST(Engine, TheLimitOfNewTokensAlsoHoldsForAsManyAsFit) {
  EngineRig rig({.pool = 512, .max_new_tokens_limit = 20});
  for (const int64_t asked : {-1, 500}) {
    expect_whole(rig.submit(prompt_of(12, 1), asked).wait(), prompt_of(12, 1), 20);
  }
  expect_whole(rig.submit(prompt_of(505, 1), -1).wait(), prompt_of(505, 1), 7);  // all that fit
}

TEST(Engine, LogprobsAreBounded) {
  EngineRig rig({});
  GenerateRequest request = request_for(prompt_of(100, 1), 100);
  request.logprob = {.enabled = true, .start_len = 0, .top_n = 100'000};
  const auto refused = rig.engine->submit(request, [](TokenEvent&&) {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("up to 20000200 logprobs (100001 at each of 200 positions)"));
  request.logprob.top_n = 80'000;
  EXPECT_TRUE(rig.engine->submit(request, [](TokenEvent&&) {}));
}

TEST(Engine, AnAbortedEmbeddingIsAnError) {
  EngineRig rig({.max_running = 1});
  rig.gate.hold();
  Call first = rig.submit(prompt_of(4, 1), 3);
  rig.gate.wait_for_step(1);
  GenerateRequest embed = request_for(prompt_of(4, 2), 0);
  embed.rid = "embed";
  embed.embed = true;
  Call waiting = rig.submit(std::move(embed));
  rig.engine->abort_prefix("embed");
  rig.gate.open();
  EXPECT_TRUE(waiting.wait().failed(503));
  expect_whole(first.wait(), prompt_of(4, 1), 3);
}

}  // namespace
}  // namespace fathom
