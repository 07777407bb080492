// A chat answer as a list of blocks, in the order the model wrote them: thoughts, text, tool calls.
// The form in which /v1/messages and /v1/responses show it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/choice.h"

namespace fathom::api {

struct Block {
  enum class Kind { kThinking, kText, kCall };
  Kind kind = Kind::kText;
  std::string text;      // of a call: its arguments, JSON
  std::string id, name;  // of a call
};

// Hears of blocks as they grow; `index` is the place in the list. At most one block is open.
class BlockListener {
 public:
  virtual ~BlockListener() = default;
  virtual void opened(size_t index, const Block& block) = 0;  // its text is still empty
  virtual void grew(size_t index, const Block& block, std::string_view piece) = 0;
  virtual void closed(size_t index, const Block& block) = 0;
};

class BlockList {
 public:
  // Calls are named `call_prefix` and a random number.
  BlockList(std::string_view call_prefix, BlockListener& listener)
      : call_prefix_(call_prefix), listener_(&listener) {}

  // Takes up what a choice with a form has gained since the last call.
  void read(const Choice& choice);
  // A choice that has ended, all at once; calls whose arguments are broken are text.
  void read_whole(const Choice& choice);
  void finish();  // closes the open block

  const std::vector<Block>& blocks() const { return blocks_; }
  bool has_calls() const;

 private:
  // Goes into the open block of that kind, or opens one. A text block begins with something to
  // see: space between thoughts and calls is no block.
  void add(Block::Kind kind, std::string_view piece);
  void begin_call(std::string_view name);
  void open(Block block);
  void grow(std::string_view piece);

  std::string_view call_prefix_;
  BlockListener* listener_;
  std::vector<Block> blocks_;
  std::string space_;  // in front of a text block
  bool open_ = false;
  size_t read_ = 0;  // events of the choice
};

}  // namespace fathom::api
