#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string_view>
#include <vector>

#include "apps/command.h"
#include "base/option_table.h"
#include "server/version.h"

namespace {

struct Command {
  std::string_view name;
  int (*run)(std::span<const std::string>);
  std::string_view help;
};

constexpr Command kCommands[] = {
    {"launch_server", fathom::launch_server, "serve a model over HTTP"},
    {"serve", fathom::launch_server, "the same"},
    {"sglang.launch_server", fathom::launch_server, "the same, by SGLang's module name"},
    {"bench_one_batch", fathom::bench_one_batch, "time one static batch, without a server"},
    {"sglang.bench_one_batch", fathom::bench_one_batch, "the same, by SGLang's module name"},
    {"bench", fathom::bench, "bench kernels: the speed of each kernel beside the machine's limits"},
    {"convert", fathom::convert_checkpoint, "a checkpoint into another weight format"},
    {"inspect", fathom::inspect, "what a checkpoint is, what it costs, what is wrong with it"},
    {"doctor", fathom::doctor, "what this machine can run"},
};

int usage(std::FILE* out, int status) {
  fmt::print(out, "usage: fathom <command> [options]\n\ncommands:\n");
  for (const Command& command : kCommands) fmt::print(out, "  {:22} {}\n", command.name, command.help);
  fmt::print(out, "  {:22} {}\n  {:22} {}\n", "version", "print the version", "help", "this text");
  fmt::print(out, "\nfathom launch_server --help lists its options.\n");
  return status;
}

// What nobody foresaw, such as too little memory for a thread, ends in a message as well.
int run(const Command& command, std::span<const std::string> args) {
  try {
    return command.run(args);
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "fathom {}: error: out of memory\n", command.name);
  } catch (const std::exception& error) {
    fmt::print(stderr, "fathom {}: error: {}\n", command.name, error.what());
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (args.empty()) return usage(stderr, 2);
  const std::string& name = args[0];
  if (name == "help" || name == "--help" || name == "-h") return usage(stdout, 0);
  if (name == "version" || name == "--version") {
    fmt::print("fathom {}\n", fathom::kVersion);
    return 0;
  }
  std::vector<std::string_view> known;
  for (const Command& command : kCommands) {
    if (command.name == name) return run(command, std::span(args).subspan(1));
    known.push_back(command.name);
  }
  const std::string hint = fathom::nearest(name, known);
  fmt::print(stderr, "fathom: unknown command '{}'{}\n", name,
             hint.empty() ? "" : fmt::format(" (did you mean {}?)", hint));
  return usage(stderr, 2);
}
