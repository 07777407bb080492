#include "server/admin/body.h"

#include <cmath>

#include "base/json.h"

namespace fathom {

Result<AdminBody> AdminBody::parse(const std::string& text) {
  if (text.empty()) return AdminBody(Json::object());
  return AdminBody(TRY(parse_json_object(text, "The request body")));
}

const Json* AdminBody::find(const char* name) const {
  const auto member = json_.find(name);
  return member == json_.end() || member->is_null() ? nullptr : &*member;
}

void AdminBody::refuse(std::string why) {
  if (error_.empty()) error_ = std::move(why);
}

Status AdminBody::status() const {
  if (error_.empty()) return {};
  return invalid("{}", error_);
}

std::optional<std::string> AdminBody::text(const char* name) {
  const auto* member = find(name);
  if (!member) return std::nullopt;
  if (member->is_string()) return member->get<std::string>();
  refuse(fmt::format("{}: must be a string", name));
  return std::nullopt;
}

std::optional<bool> AdminBody::boolean(const char* name) {
  const auto* member = find(name);
  if (!member) return std::nullopt;
  if (member->is_boolean()) return member->get<bool>();
  refuse(fmt::format("{}: must be a boolean", name));
  return std::nullopt;
}

std::optional<double> AdminBody::number(const char* name, double low, double high) {
  const auto* member = find(name);
  if (!member) return std::nullopt;
  if (member->is_number()) {
    const auto value = member->get<double>();
    if (std::isfinite(value) && value >= low && value <= high) return value;
  }
  refuse(fmt::format("{}: must be a number in [{}, {}]", name, low, high));
  return std::nullopt;
}

std::optional<int64_t> AdminBody::integer(const char* name, int64_t low, int64_t high) {
  const auto* member = find(name);
  if (!member) return std::nullopt;
  if (member->is_number_unsigned() && member->get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)) {
    const auto value = member->get<int64_t>();
    if (value >= low && value <= high) return value;
  } else if (member->is_number_integer() && !member->is_number_unsigned()) {
    const auto value = member->get<int64_t>();
    if (value >= low && value <= high) return value;
  }
  refuse(fmt::format("{}: must be an integer in [{}, {}]", name, low, high));
  return std::nullopt;
}

const Json* AdminBody::object(const char* name) {
  const auto* member = find(name);
  if (member && !member->is_object()) {
    refuse(fmt::format("{}: must be an object", name));
    return nullptr;
  }
  return member;
}

}  // namespace fathom
