#include "bench/bench_kernels.h"

#include <fmt/format.h>

#include <cstdio>
#include <fstream>

#include "base/json.h"
#include "base/option_table.h"
#include "bench/kernel_speed.h"

namespace fathom {
namespace {

const Option kOptions[] = {
    {.name = "target",
     .fallback = "auto",
     .help = "kernel target, or 'all' that this machine runs"},
    {.name = "threads", .type = OptionType::kInt, .fallback = "0", .help = "0: all cores"},
    {.name = "quick", .type = OptionType::kFlag, .help = "fewer shapes and repetitions"},
    {.name = "json", .fallback = "", .help = "also write the results to this file"},
    {.name = "help", .type = OptionType::kFlag, .help = "this text"},
};

Json as_json(const MachineLimits& limits, int threads) {
  return {{"threads", threads},
          {"read_gb_per_s", limits.read_bytes_per_second / 1e9},
          {"fma_gflops", limits.fma_flops_per_second / 1e9},
          {"bf16_gflops", limits.bf16_flops_per_second / 1e9},
          {"int8_gops", limits.int8_ops_per_second / 1e9}};
}

Status run(const OptionValues& v) {
  const auto threads = static_cast<int>(v.integer("threads").value_or(0));
  if (threads < 0 || threads > 4096) return invalid("argument --threads: {} threads", threads);
  const auto exec = Exec::create({.threads = threads, .cores = {}});
  std::vector<std::string> targets{v.text("target")};
  if (targets[0] == "all") targets = runnable_targets();
  const std::string path = v.text("json");
  std::ofstream file;
  if (!path.empty()) {
    file.open(path);
    if (!file) return invalid("argument --json: cannot write '{}'", path);
  }

  const MachineLimits limits = TRY(measure_machine(*exec));
  fmt::print(
      "{} threads; this machine: reads {:.1f} GB/s, FP32 {:.0f}, BF16 {:.0f}, INT8 {:.0f} GFLOPS\n",
      exec->threads(), limits.read_bytes_per_second / 1e9, limits.fma_flops_per_second / 1e9,
      limits.bf16_flops_per_second / 1e9, limits.int8_ops_per_second / 1e9);
  Json results = Json::array();
  for (const std::string& target : targets) {
    auto compute = TRY(Compute::create(*exec, target));
    fmt::print("\n{}\n{:10} {:26} {:13} {:>10} {:>10} {:>7} {:>6}\n", compute->target(), "kernel",
               "shape", "format", "time us", "achieved", "", "ratio");
    TRY(measure_kernels(*exec, *compute, limits, v.flag("quick"), [&](const KernelSpeed& s) {
      fmt::print("{:10} {:26} {:13} {:10.1f} {:10.1f} {:>7} {:6.2f}\n", s.kernel, s.shape, s.format,
                 1e6 * s.seconds, s.achieved, s.unit, s.ratio());
      std::fflush(stdout);
      results.push_back({{"target", compute->target()},
                         {"kernel", s.kernel},
                         {"shape", s.shape},
                         {"format", s.format},
                         {"seconds", s.seconds},
                         {"achieved", s.achieved},
                         {"limit", s.limit},
                         {"unit", s.unit},
                         {"ratio", s.ratio()}});
    }));
  }
  if (file.is_open()) {
    const Json all = {{"machine", as_json(limits, exec->threads())}, {"kernels", results}};
    file << json_text(all, 1) << '\n';
  }
  return {};
}

}  // namespace

int run_bench_kernels(std::span<const std::string> words) {
  const auto values = parse_options(kOptions, words);
  if (!values) {
    fmt::print(stderr, "fathom bench kernels: {}\n", values.error().message);
    return 2;
  }
  if (values->flag("help")) {
    fmt::print("{}", help_text("fathom bench kernels [options]", kOptions));
    return 0;
  }
  const Status status = run(*values);
  if (!status) {
    fmt::print(stderr, "fathom bench kernels: {}\n", status.error().message);
    return 1;
  }
  return 0;
}

}  // namespace fathom
