// Turns a growing list of tokens into text that never shows half a character: bytes that may become
// a character are held back; bytes that never can are U+FFFD (spec: sampling-and-output 4).
#pragma once

#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace fathom {

class Detokenizer {
 public:
  Detokenizer(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special);
  // Text that became certain by this token.
  std::string push(int32_t id);
  // What was held back, completed with U+FFFD.
  std::string finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_;
  std::string pending_;  // at most 3 bytes
};

}  // namespace fathom
