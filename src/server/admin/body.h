// The JSON object that an administrator sends: typed members, the first mistake remembered.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace fathom {

class AdminBody {
 public:
  // An empty body is an empty object. Members of other names are ignored.
  static Result<AdminBody> parse(const std::string& text);

  // Absent and null are nullopt; a value of another type too, and it is remembered as an error.
  std::optional<std::string> text(const char* name);
  std::optional<bool> boolean(const char* name);
  std::optional<double> number(const char* name, double low, double high);
  std::optional<int64_t> integer(const char* name, int64_t low, int64_t high);
  const Json* object(const char* name);

  void refuse(std::string why);
  // "field: must be ..."
  Status status() const;

 private:
  explicit AdminBody(Json json) : json_(std::move(json)) {}
  const Json* find(const char* name) const;

  Json json_;
  std::string error_;
};

}  // namespace fathom
