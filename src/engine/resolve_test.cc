// The plan's memory: pool, batch and scratch against a machine of a given size.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "device/cores.h"
#include "engine/plan.h"
#include "engine/runner.h"
#include "model/loader.h"

namespace fathom {
namespace {

using testing::HasSubstr;
constexpr int64_t kMiB = 1 << 20;

EngineOptions tiny_model() {
  EngineOptions o;
  o.model = FileSet::folder(FATHOM_TEST_DATA "/golden/models/v3-bf16").value();
  o.threads = 1;
  return o;
}

int64_t token_bytes(const Plan& plan) { return KvPool::bytes_per_token(plan.model, plan.kv_format); }

std::string notes_of(const Plan& plan) {
  std::string text;
  for (const std::string& note : plan.notes) text += note + "\n";
  return text;
}

TEST(Resolve, TheFractionIsForWeightsScratchAndPool) {
  EngineOptions o = tiny_model();
  o.mem_fraction_static = 0.5;
  o.max_running_requests = 4000;
  const Plan plan = resolve(o, {.total = 512 * kMiB, .available = 512 * kMiB}).value();
  const int64_t used = plan.weight_bytes + plan.scratch_bytes + plan.kv_bytes;
  EXPECT_LE(used, 256 * kMiB);
  EXPECT_GT(used, 256 * kMiB - token_bytes(plan));
  EXPECT_EQ(plan.scratch_bytes, scratch_bytes(plan.model, plan.step_rows) +
                                    Runner::logit_bytes(plan.model, plan.max_running));
}

// clamp(512 N / context, 2048, 4096), then at most N / 2.
TEST(Resolve, TheBatchFollowsFromThePool) {
  EngineOptions o = tiny_model();
  const HostMemory large{.total = 64000 * kMiB, .available = 64000 * kMiB};
  o.context_length = 512;
  const auto running = [&](int64_t tokens) {
    o.max_total_tokens = tokens;
    return resolve(o, large).value().max_running;
  };
  EXPECT_EQ(running(5000), 2500);
  EXPECT_EQ(running(100), 50);
  EXPECT_EQ(running(1), 1);
  EXPECT_EQ(running(2100), 1050);
  EXPECT_EQ(running(100'000), 4096);
  o.context_length = 100'000;
  EXPECT_EQ(running(100'000), 2048);
  EXPECT_EQ(running(600'000), 3072);
  o.max_running_requests = 7;
  EXPECT_EQ(running(600'000), 7);
}

// The prefix cache of a server for one wants room for more than one conversation.
TEST(Resolve, ASmallBatchLeavesThePoolAsItIs) {
  EngineOptions o = tiny_model();
  o.max_running_requests = 1;
  o.context_length = 100;
  o.max_total_tokens = 5000;
  EXPECT_EQ(resolve(o, {.total = 4096 * kMiB, .available = 4096 * kMiB}).value().total_tokens,
            5000);
  o.max_total_tokens.reset();
  EXPECT_EQ(resolve(o, {.total = 4096 * kMiB, .available = 4096 * kMiB}).value().total_tokens,
            204'800);
}

TEST(Resolve, ThePoolIsCutToFreeMemory) {
  EngineOptions o = tiny_model();
  const Plan whole = resolve(o, {.total = 4096 * kMiB, .available = 4096 * kMiB}).value();
  EXPECT_EQ(notes_of(whole), "");
  const int64_t others = whole.weight_bytes + whole.scratch_bytes;
  const Plan cut = resolve(o, {.total = 4096 * kMiB, .available = others + 100 * token_bytes(whole)}).value();
  EXPECT_EQ(cut.total_tokens, 100);
  EXPECT_EQ(cut.max_running, whole.max_running);
  EXPECT_THAT(notes_of(cut), HasSubstr(fmt::format("the KV pool is 100 tokens instead of {}", whole.total_tokens)));
  const auto none = resolve(o, {.total = 4096 * kMiB, .available = others});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kExhausted);
  EXPECT_THAT(none.error().message, HasSubstr("free some, or lower --max-running-requests"));
  const auto small = resolve(o, {.total = kMiB, .available = kMiB});
  ASSERT_FALSE(small);
  EXPECT_THAT(small.error().message, HasSubstr("Not enough memory. Please try to increase --mem-fraction-static."));
}

TEST(Resolve, ThreadsFollowFromTheCores) {
  EngineOptions o = tiny_model();
  o.threads = 0;
  o.most_threads = 1;
  EXPECT_EQ(resolve(o).value().threads, 1);
  const int core = usable_cores().front();
  o.cores = {core, 100'000};
  const Plan plan = resolve(o).value();
  EXPECT_EQ(plan.threads, 1);
  EXPECT_EQ(plan.options.cores, std::vector{core});
  EXPECT_THAT(notes_of(plan), HasSubstr("1 of the 2 cores are not there"));
  o.cores = {100'000};
  EXPECT_THAT(resolve(o).error().message, HasSubstr("SGLANG_CPU_OMP_THREADS_BIND"));
}

TEST(Resolve, PagesAreWhole) {
  EngineOptions o = tiny_model();
  o.page_size = 16;
  o.max_total_tokens = 1000;
  EXPECT_EQ(resolve(o, {.total = 4096 * kMiB, .available = 4096 * kMiB}).value().total_tokens, 992);
}

}  // namespace
}  // namespace fathom
