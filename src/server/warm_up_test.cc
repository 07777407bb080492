#include "server/warm_up.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "api/testing/byte_tokenizer.h"
#include "engine/testing/engine_rig.h"

namespace fathom {
namespace {

std::future<Status> warm_up_beside(Engine& engine) {
  return std::async(std::launch::async, [&engine] {
    const api::ByteTokenizer tokenizer;
    return warm_up(engine, tokenizer);
  });
}

TEST(WarmUp, IsAnswered) {
  EngineRig rig({});
  EXPECT_TRUE(warm_up_beside(*rig.engine).get());
  EXPECT_GT(rig.engine->stats().steps, 0);
}

// The routes of administrators are open by then, and clients may be impatient.
TEST(WarmUp, OutlivesAbortsAndPauses) {
  EngineRig rig({});
  rig.gate.hold();
  std::future<Status> warm = warm_up_beside(*rig.engine);
  rig.gate.wait_for_step(1);
  rig.engine->abort_all();
  rig.gate.let(1);
  rig.gate.wait_for_step(2);
  rig.engine->pause(PauseMode::kAbort);
  rig.gate.open();
  EXPECT_EQ(warm.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout) << "paused";
  rig.engine->resume();
  const Status done = warm.get();
  EXPECT_TRUE(done) << done.error().message;
}

// Time limits are for clients; the first steps page the weights in.
TEST(WarmUp, MayTakeLong) {
  Plan plan = EngineRig::plan_of({});
  plan.options.running_timeout = 0.05;
  const auto engine = Engine::start(plan, EngineRig::parts_of(plan, [](const ForwardBatch&) {
                                      std::this_thread::sleep_for(std::chrono::milliseconds(60));
                                    }));
  const Status done = warm_up_beside(*engine).get();
  EXPECT_TRUE(done) << done.error().message;
}

TEST(WarmUp, TellsWhatFailed) {
  EngineRig rig({}, [](const ForwardBatch&) { throw std::runtime_error("no such kernel"); });
  const Status done = warm_up_beside(*rig.engine).get();
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("no such kernel"), std::string::npos);
}

}  // namespace
}  // namespace fathom
