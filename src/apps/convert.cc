#include "convert/convert.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cstdio>

#include "apps/command.h"
#include "base/log.h"
#include "base/option_table.h"

namespace fathom {
namespace {
using convert::Options;

constexpr const char* kUsage =
    "usage: fathom convert <in> <out> --to <format> [options]\n\n"
    "Converts a checkpoint (a Hugging Face folder in any format that Fathom serves, or a GGUF file) into a\n"
    "new folder with the names that Hugging Face, vLLM and SGLang read. The source is never changed. Each\n"
    "shard is read back after it was written. An interrupted conversion is resumed by the same command.\n\n"
    "Embeddings, head, norms, router and eh_proj keep their type. int4 without calibration: minimum and\n"
    "maximum of each group, shrunk where that loses less; with it also activation-aware scaling (AWQ) of what\n"
    "stands behind norms. nvfp4: input_scale is 1.\n\nformats:\n";

std::vector<Option> options() {
  return {{"to", OptionType::kString, "", "", "target format"},
          {"group-size", OptionType::kInt, "128", "", "int4: columns that share a scale", {}, {"64", "128"}},
          {"calibration", OptionType::kString, "", "", "int4: a text file to learn the scales of channels from"},
          {"scale-fmt", OptionType::kString, "", "", "fp8: ue8m0 makes scales powers of two", {}, {"ue8m0"}},
          {"extract-mtp", OptionType::kFlag, "", "", "only the multi-token-prediction layer, as a draft model"},
          {"shard-size", OptionType::kHuman, "4Gi", "", "largest file, in bytes"},
          {"threads", OptionType::kInt, "0", "", "0: all cores"}};
}

Result<Options> parse(std::span<const std::string> args, std::span<const Option> table) {
  std::vector<std::string> paths, flags;
  for (const std::string& arg : args) {
    (flags.empty() && !arg.starts_with("--") ? paths : flags).push_back(arg);
  }
  if (paths.size() != 2) return invalid("expected <in> and <out> before the options, found {}", paths.size());
  const OptionValues values = TRY(parse_options(table, flags));
  Options o{.in = paths[0], .out = paths[1]};
  o.extract_mtp = values.flag("extract-mtp");
  const std::string to = values.text("to");
  o.target = convert::target_named(to);
  if (o.extract_mtp == (o.target != nullptr) || (!to.empty() && !o.target)) {
    return invalid("give either --extract-mtp or --to with one of the formats{}",
                   to.empty() ? "" : fmt::format("; '{}' is none", to));
  }
  for (const auto& [option, format] :
       {std::pair("group-size", "int4"), std::pair("scale-fmt", "fp8")}) {
    if (values.given(option) && to != format)
      return invalid("argument --{}: is for --to {}", option, format);
  }
  if (*values.integer("shard-size") < 1)
    return invalid("argument --shard-size: must be at least 1");
  if (const int64_t n = *values.integer("threads"); n < 0 || n > 1024) {
    return invalid("argument --threads: must be in [0, 1024], got {}", n);
  }
  o.format.group_size = static_cast<int32_t>(*values.integer("group-size"));
  o.format.ue8m0 = values.text("scale-fmt") == "ue8m0";
  o.calibration = values.text("calibration");
  o.shard_bytes = *values.integer("shard-size");
  o.threads = static_cast<int>(*values.integer("threads"));
  o.command = fmt::format("fathom convert {}", fmt::join(args, " "));
  return o;
}

// A bar on a terminal, else a line per shard.
void show(const convert::Progress& p) {
  static int32_t shown_shard = 0;
  const double share = p.bytes_all > 0 ? static_cast<double>(p.bytes_done) / static_cast<double>(p.bytes_all) : 1;
  const std::string text = fmt::format("{:3.0f} % of {:.2f} GB, shard {} of {}", share * 100,
                                       static_cast<double>(p.bytes_all) / 1e9, p.shard, p.shards);
  if (isatty(STDERR_FILENO)) {
    const std::string bar(static_cast<size_t>(share * 30), '#');
    fmt::print(stderr, "\r[{:30}] {}{}", bar, text, p.bytes_done == p.bytes_all ? "\n" : "");
  } else if (p.shard != shown_shard) {
    fmt::print(stderr, "{}\n", text);
    shown_shard = p.shard;
  }
}

}  // namespace

int convert_checkpoint(std::span<const std::string> args) {
  const std::vector<Option> table = options();
  if (args.empty() || args[0] == "--help" || args[0] == "-h") {
    std::string formats = kUsage;
    for (const convert::Target& t : convert::targets()) formats += fmt::format("  {:12} {}\n", t.name, t.help);
    fmt::print("{}\n{}", formats, help_text("fathom convert", table));
    return args.empty() ? 2 : 0;
  }
  log::init("info");
  const auto parsed = parse(args, table);
  const auto done = parsed ? convert::convert(*parsed, show) : std::unexpected(parsed.error());
  if (!done) {
    fmt::print(stderr, "fathom convert: error: {}\n", done.error().message);
    return parsed ? 1 : 2;
  }
  fmt::print("{}: {:.3f} GB became {:.3f} GB in {} file(s){}\n", parsed->out.string(),
             static_cast<double>(done->bytes_in) / 1e9, static_cast<double>(done->bytes_out) / 1e9, done->shards,
             done->resumed_shards ? fmt::format(", {} of them from before", done->resumed_shards) : "");
  return 0;
}

}  // namespace fathom
