// What an engine is made of once everything is loaded.
#pragma once

#include <memory>

#include "device/arena.h"
#include "device/exec.h"
#include "kernels/compute.h"
#include "model/model.h"

namespace fathom {

// In the order of use: later members refer to earlier ones.
struct EngineParts {
  std::unique_ptr<Exec> exec;
  std::unique_ptr<Compute> compute;
  std::unique_ptr<Model> model;
  KvPool kv;    // Plan::total_tokens slots
  Arena arena;    // scratch_bytes() of Plan::step_rows
  Buffer logits;  // Runner::logit_bytes() of Plan::max_running
};

}  // namespace fathom
