#include "api/blocks.h"

#include <algorithm>

namespace fathom::api {

void BlockList::add(Block::Kind kind, std::string_view piece) {
  if (piece.empty()) return;
  if (!open_ || blocks_.back().kind != kind) open({.kind = kind});
  grow(piece);
}

void BlockList::begin_call(std::string id, std::string name) {
  open({.kind = Block::Kind::kCall, .id = std::move(id), .name = std::move(name)});
}

void BlockList::add_arguments(std::string_view piece) {
  if (!piece.empty()) grow(piece);
}

void BlockList::open(Block block) {
  finish();
  blocks_.push_back(std::move(block));
  open_ = true;
  if (listener_) listener_->opened(blocks_.size() - 1, blocks_.back());
}

void BlockList::grow(std::string_view piece) {
  blocks_.back().text += piece;
  if (listener_) listener_->grew(blocks_.size() - 1, blocks_.back(), piece);
}

void BlockList::finish() {
  if (!open_) return;
  open_ = false;
  if (listener_) listener_->closed(blocks_.size() - 1, blocks_.back());
}

bool BlockList::has_calls() const {
  return std::ranges::any_of(blocks_, [](const Block& b) { return b.kind == Block::Kind::kCall; });
}

}  // namespace fathom::api
