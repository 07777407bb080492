// What the parsers look for, noted: for the test that compares it with /openapi.json.
#pragma once

#include <set>
#include <string>
#include <utility>

namespace fathom::api {

// Where this thread's Fields note the paths that they are asked for; null: nowhere.
extern thread_local std::set<std::string>* watched_fields;

class FieldWatch {
 public:
  FieldWatch() : outer_(std::exchange(watched_fields, &paths_)) {}
  ~FieldWatch() { watched_fields = outer_; }
  FieldWatch(const FieldWatch&) = delete;
  const std::set<std::string>& paths() const { return paths_; }

 private:
  std::set<std::string> paths_;
  std::set<std::string>* outer_;
};

}  // namespace fathom::api
