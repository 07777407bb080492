// The first request, which the server makes itself: pages weights in and proves that all works.
#pragma once

#include "base/result.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

namespace fathom {

// Blocks until it is answered.
Status warm_up(Engine& engine, const Tokenizer& tokenizer);

}  // namespace fathom
