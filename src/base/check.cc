#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace fathom {

void check_failed(const char* file, int line, const char* what, const std::string& detail) {
  fmt::print(stderr, "{}:{}: check failed: {} {}\n", file, line, what, detail);
  std::fflush(stderr);
  std::abort();
}

}  // namespace fathom
