#include "server/routes.h"

#include <algorithm>

#include "base/check.h"

namespace fathom {

Routes::Routes(std::vector<Route> table) : table_(std::move(table)) {
  for (const Route& route : table_) {
    CHECK(route.path.starts_with('/') && !route.methods.empty() && route.handler);
    CHECK_EQ(route.any_suffix, route.any_suffix && route.path.ends_with('/'));
  }
}

const Route* Routes::find(std::string_view path) const {
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  for (const Route& route : table_) {
    const bool matches = route.any_suffix
                             ? path.size() > route.path.size() && path.starts_with(route.path)
                             : path == route.path;
    if (matches) return &route;
  }
  return nullptr;
}

bool allows(const Route& route, std::string_view method) {
  return std::ranges::find(route.methods, method) != route.methods.end();
}

std::string allowed_methods(const Route& route) {
  std::string out;
  for (const auto method : route.methods) {
    if (!out.empty()) out += ", ";
    out += method;
  }
  return out;
}

std::string_view endpoint_label(const Route* route) {
  return route == nullptr ? std::string_view("other") : std::string_view(route->path);
}

}  // namespace fathom
