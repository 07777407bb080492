// A list that is made once and shared by all its copies: for what may be large and is the same in
// all sequences of a request.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>

namespace fathom {

template <class List>
class Shared {
 public:
  Shared() = default;
  Shared(List list) : list_(std::make_shared<const List>(std::move(list))) {}
  Shared(std::initializer_list<typename List::value_type> items) : Shared(List(items)) {}

  operator const List&() const { return get(); }
  const List& get() const {
    static const List kNone;
    return list_ ? *list_ : kNone;
  }
  auto begin() const { return get().begin(); }
  auto end() const { return get().end(); }
  auto size() const { return get().size(); }
  bool empty() const { return get().empty(); }
  friend bool operator==(const Shared& a, const Shared& b) {
    return a.list_ == b.list_ || a.get() == b.get();
  }

 private:
  std::shared_ptr<const List> list_;  // null: empty
};

}  // namespace fathom
