#include "convert/inspect.h"

#include <fmt/format.h>

#include <cstdio>

#include "apps/command.h"
#include "base/log.h"

namespace fathom {

int inspect(std::span<const std::string> args) {
  std::vector<std::string> paths;
  bool json = false;
  for (const std::string& arg : args) {
    if (arg == "--json") {
      json = true;
    } else {
      paths.push_back(arg);
    }
  }
  if (paths.size() != 1 || paths[0].starts_with("-")) {
    const bool help = paths.size() == 1 && (paths[0] == "--help" || paths[0] == "-h");
    fmt::print(help ? stdout : stderr,
               "usage: fathom inspect <checkpoint> [--json]\n\nWhat a checkpoint folder or GGUF file is, what "
               "it costs to run, and what is wrong with it.\nExit status 1 when something is.\n");
    return help ? 0 : 2;
  }
  log::init("error");
  const auto result = convert::inspect(paths[0]);
  if (!result) {
    fmt::print(stderr, "fathom inspect: error: {}\n", result.error().message);
    return 1;
  }
  fmt::print("{}\n", json ? result->to_json() : result->to_text());
  return result->problems.empty() ? 0 : 1;
}

}  // namespace fathom
