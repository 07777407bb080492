// Command-line options as data: one row per option, parsed as Python's argparse does, because command
// lines written for SGLang must work unchanged (spec: server-args 1).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace fathom {

enum class OptionType {
  kFlag,    // presence means true
  kInt,     // 64 bit
  kHuman,   // an integer with k, M, G, T (decimal) or Ki, Mi, Gi, Ti (binary)
  kFloat,
  kString,
  kList,    // words until the next option
};

struct Option {
  enum class Status {
    kWorks,
    kNoEffect,  // accepted; `note` says why it does nothing here, logged once
    kRefused,   // an error with `note`, unless the value is `neutral`
  };
  std::string_view name;  // with dashes, without the leading ones
  OptionType type = OptionType::kString;
  std::string_view fallback = "";  // default, as text; "" means none
  std::string_view group = "";
  std::string_view help = "";
  std::vector<std::string_view> aliases = {};
  std::vector<std::string_view> choices = {};
  Status status = Status::kWorks;
  std::string_view note = "";
  std::string_view neutral = "";  // kRefused: a value that asks for nothing
};

// What was given, by option name; defaults fill the rest.
class OptionValues {
 public:
  explicit OptionValues(std::span<const Option> table) : table_(table) {}

  bool given(std::string_view name) const { return values_.contains(name); }
  bool flag(std::string_view name) const { return given(name); }
  std::string text(std::string_view name) const;
  std::optional<std::string> maybe_text(std::string_view name) const;
  std::optional<int64_t> integer(std::string_view name) const;  // also of kHuman
  std::optional<double> number(std::string_view name) const;
  std::vector<std::string> list(std::string_view name) const;
  std::span<const Option> table() const { return table_; }

  // Names given whose row has no effect, with their notes.
  std::vector<std::pair<std::string, std::string>> without_effect() const;

 private:
  friend Result<OptionValues> parse_options(std::span<const Option>, std::span<const std::string>);
  const Option& row(std::string_view name) const;
  std::span<const Option> table_;
  std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

// kInvalid: syntax (exit code 2); kUnsupported: a refused option (exit code 1).
Result<OptionValues> parse_options(std::span<const Option> table, std::span<const std::string> args);

// "25.6k" -> 25600, "4Ki" -> 4096.
std::optional<int64_t> parse_human_integer(std::string_view text);

std::string help_text(std::string_view usage, std::span<const Option> table);
std::string markdown_table(std::span<const Option> table);
// The known word nearest to `word`, "" if none is near.
std::string nearest(std::string_view word, std::span<const std::string_view> known);

}  // namespace fathom
