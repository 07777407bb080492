// Stands in for a tokenizer with --skip-tokenizer-init: ids in, ids out, no text.
#pragma once

#include <memory>

#include "text/tokenizer.h"

namespace fathom {

std::shared_ptr<const Tokenizer> no_tokenizer();

}  // namespace fathom
