// A steady step of decoding allocates nothing: every operator new of this program is counted between
// two events of a request that the engine thread delivers. And wherever an allocation of the engine
// thread fails, everybody gets an answer and the engine goes on.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <future>
#include <memory>
#include <new>

#include "engine/testing/engine_rig.h"

namespace {

std::atomic<bool> counting = false;
std::atomic<int64_t> allocations = 0;
std::atomic<int64_t> allocations_left = 0;  // of threads that may fail; the last one does. 0: none does
thread_local bool may_fail = false;

void* allocate(std::size_t bytes, std::size_t alignment) {
  if (may_fail && allocations_left.load() > 0 && allocations_left.fetch_sub(1) == 1) throw std::bad_alloc();
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
  const std::size_t rounded = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  if (void* p = std::aligned_alloc(alignment, rounded)) return p;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new[](std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t a) { return allocate(bytes, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t bytes, std::align_val_t a) { return allocate(bytes, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace fathom {
namespace {

// Eight requests decode together, with and without what makes sampling more than an argmax; what is
// allocated in steps 20 to 120 of the first. The engine waits at its first event until all are there.
int64_t allocations_in_a_hundred_steps(Engine& engine) {
  std::promise<void> submitted;
  std::promise<void> done;
  std::vector<TokenStream> streams;
  int events = 0;
  for (int i = 0; i < 8; ++i) {
    GenerateRequest request = request_for(prompt_of(5 + i, i), 300 + i);
    request.sampling.ignore_eos = true;
    if (i % 4 == 1) {
      request.sampling.frequency_penalty = 0.5;
      request.sampling.repetition_penalty = 1.1;
    }
    if (i % 4 == 2) {
      request.sampling.temperature = 0.8;
      request.sampling.top_p = 0.9;
      request.sampling.top_k = 20;
    }
    if (i % 4 == 3) request.sampling.logit_bias = {{3, 1.0f}};
    OnTokens receive = [](TokenEvent&&) {};
    if (i == 0) {
      receive = [&](TokenEvent&& event) {
        if (++events == 1) submitted.get_future().wait();
        if (events == 20) counting = true;
        if (events == 120) counting = false;
        if (event.finish) done.set_value();
      };
    }
    streams.push_back(engine.submit(std::move(request), std::move(receive)).value());
  }
  auto end = done.get_future();
  submitted.set_value();
  end.wait();
  EXPECT_EQ(events, 300);
  return allocations.exchange(0);
}

TEST(Allocations, AreCounted) {
  counting = true;
  const auto p = std::make_unique<int>(1);
  counting = false;
  EXPECT_EQ(allocations.exchange(0), 1);
}

TEST(Allocations, NoneInASteadyStepOfTheEngine) {
  EngineRig rig({.pool = 4096});
  EXPECT_EQ(allocations_in_a_hundred_steps(*rig.engine), 0);
}

TEST(Allocations, NoneInASteadyStepOfARealModel) {
  EngineOptions options;
  options.model = FileSet::folder(FATHOM_TEST_DATA "/golden/models/v3-bf16").value();
  options.threads = 2;
  options.context_length = 512;
  options.max_total_tokens = 4096;
  options.max_running_requests = 8;
  options.decode_log_interval = 1 << 30;
  const auto engine = Engine::create(resolve(options).value()).value();
  EXPECT_EQ(allocations_in_a_hundred_steps(*engine), 0);
}

// The receiver's own allocations are no matter of the engine.
OnTokens spared(OnTokens receive) {
  return [receive = std::move(receive)](TokenEvent&& event) {
    const bool before = std::exchange(may_fail, false);
    receive(std::move(event));
    may_fail = before;
  };
}

TEST(Allocations, WhicheverFailsEverybodyIsAnswered) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "what the engine abandons when it starts over is a leak";
#endif
  EngineRig rig({.pool = 256, .max_running = 3, .chunk = 16}, [](const ForwardBatch&) { may_fail = true; });
  const auto call = [&](int i) {
    GenerateRequest request = request_for(prompt_of(20 + i * 7, i / 2), 6 + i);
    if (i % 2) request.logprob = {.enabled = true, .start_len = 0, .top_n = 2};
    if (i % 3 == 1) request.sampling.frequency_penalty = 0.001;
    Call made;
    made.stream = rig.engine->submit(std::move(request), spared(made.receiver())).value();
    return made;
  };
  ASSERT_EQ(call(0).wait().finish.kind, FinishReason::Kind::kLength);
  int failures = 0;
  for (int64_t nth = 1, fired = 1; fired; ++nth) {
    rig.gate.hold();
    allocations_left = nth;
    std::vector<Call> calls;
    for (int i = 0; i < 5; ++i) calls.push_back(call(i));
    rig.gate.open();
    for (Call& c : calls) {
      const Answer answer = c.wait();
      ASSERT_EQ(answer.finishes, 1) << "allocation " << nth;
      if (answer.finish.kind == FinishReason::Kind::kAbort) {
        ASSERT_TRUE(answer.failed(500)) << answer.finish.message;
        ++failures;
      }
    }
    fired = allocations_left.exchange(0) == 0;
    const auto prompt = prompt_of(20, 0);
    Call after = call(0);
    ASSERT_EQ(after.wait().tokens, FakeModel::continuation(prompt, 6)) << "allocation " << nth;
    rig.expect_clean();
  }
  EXPECT_GT(failures, 100);
}

}  // namespace
}  // namespace fathom
