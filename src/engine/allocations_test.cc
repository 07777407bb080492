// A steady step of decoding allocates nothing: every operator new of this program is counted between
// two events of a request that the engine thread delivers.
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

void* allocate(std::size_t bytes, std::size_t alignment) {
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

}  // namespace
}  // namespace fathom
