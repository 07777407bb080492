// A chat answer as a list of blocks, in the order the model wrote them: thoughts, text, tool calls.
// The form in which /v1/messages and /v1/responses show it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

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
  explicit BlockList(BlockListener* listener = nullptr) : listener_(listener) {}

  // Goes into the open block of that kind, or opens one. Empty pieces change nothing.
  void add_thinking(std::string_view piece) { add(Block::Kind::kThinking, piece); }
  void add_text(std::string_view piece) { add(Block::Kind::kText, piece); }
  void begin_call(std::string id, std::string name);
  void add_arguments(std::string_view piece);  // of the call begun last
  void finish();                               // closes the open block

  const std::vector<Block>& blocks() const { return blocks_; }
  bool has_calls() const;

 private:
  void add(Block::Kind kind, std::string_view piece);
  void open(Block block);
  void grow(std::string_view piece);

  BlockListener* listener_;
  std::vector<Block> blocks_;
  bool open_ = false;
};

}  // namespace fathom::api
