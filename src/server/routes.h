// The table of everything the server answers: path, methods, who may call it, how its errors look.
// Immutable after construction; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/server.h"
#include "server/auth.h"
#include "server/error_body.h"

namespace fathom {

// What must be there before a route can answer.
enum class Needs {
  kNothing,     // answers at any time
  kModel,       // 503 until the model is loaded
  kGeneration,  // makes work for the engine: also 503 while shutting down
};

struct Route {
  std::string path;
  std::vector<std::string_view> methods;
  Access access = Access::kNormal;
  Needs needs = Needs::kModel;
  ErrorShape errors = ErrorShape::kDetail;
  http::Handler handler;
  bool any_suffix = false;  // `path` ends with '/' and matches whatever follows
};

class Routes {
 public:
  explicit Routes(std::vector<Route> table);

  // A trailing '/' makes no difference. nullptr: unknown path.
  const Route* find(std::string_view path) const;
  const std::vector<Route>& table() const { return table_; }

 private:
  std::vector<Route> table_;
};

bool allows(const Route& route, std::string_view method);
// "GET, POST", for Allow.
std::string allowed_methods(const Route& route);
// A name for metrics: the table's path, or "other".
std::string_view endpoint_label(const Route* route);

}  // namespace fathom
