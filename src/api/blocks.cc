#include "api/blocks.h"

#include <algorithm>

#include "api/job.h"

namespace fathom::api {

void BlockList::read(const Choice& choice) {
  using Kind = DialectEvent::Kind;
  for (; read_ < choice.events().size(); ++read_) {
    const DialectEvent& event = choice.events()[read_];
    switch (event.kind) {
      case Kind::kReasoning:
        add(Block::Kind::kThinking, event.text);
        break;
      case Kind::kContent:
        add(Block::Kind::kText, event.text);
        break;
      case Kind::kCallBegin:
        begin_call(event.text);
        break;
      case Kind::kArguments:
        grow(event.text);
        break;
      case Kind::kCallEnd:
        finish();
        break;
    }
  }
}

void BlockList::read_whole(const Choice& choice) {
  const GatheredOutput output = choice.gathered();
  add(Block::Kind::kThinking, output.reasoning);
  add(Block::Kind::kText, output.content);
  for (const auto& call : output.calls) {
    begin_call(call.name);
    grow(call.arguments);
  }
}

void BlockList::add(Block::Kind kind, std::string_view piece) {
  if (piece.empty()) return;
  if (!open_ || blocks_.back().kind != kind) {
    if (kind == Block::Kind::kText) {
      space_ += piece;
      if (space_.find_first_not_of(" \t\r\n") == std::string::npos) return;
      open({.kind = kind});
      return grow(std::exchange(space_, {}));
    }
    open({.kind = kind});
  }
  grow(piece);
}

void BlockList::begin_call(std::string_view name) {
  open({.kind = Block::Kind::kCall,
        .id = std::string(call_prefix_) + random_id().substr(0, 24),
        .name = std::string(name)});
}

void BlockList::open(Block block) {
  finish();
  if (block.kind != Block::Kind::kText) space_.clear();
  blocks_.push_back(std::move(block));
  open_ = true;
  listener_->opened(blocks_.size() - 1, blocks_.back());
}

void BlockList::grow(std::string_view piece) {
  if (piece.empty()) return;
  blocks_.back().text += piece;
  listener_->grew(blocks_.size() - 1, blocks_.back(), piece);
}

void BlockList::finish() {
  if (!open_) return;
  open_ = false;
  listener_->closed(blocks_.size() - 1, blocks_.back());
}

bool BlockList::has_calls() const {
  return std::ranges::any_of(blocks_, [](const Block& b) { return b.kind == Block::Kind::kCall; });
}

}  // namespace fathom::api
