#include "base/option_table.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/check.h"

namespace fathom {
namespace {

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const auto [end, error] = std::from_chars(begin, text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// "--schedule_policy" and "--schedule-policy" are one option.
std::string canonical(std::string_view word) {
  std::string name(word);
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

bool is_option(std::string_view word) {
  if (!word.starts_with("-") || word == "-") return false;
  return !parse_number<double>(word);  // negative numbers are values
}

// The row a word names: exactly, by alias, or by an unambiguous prefix.
Result<const Option*> find_option(std::span<const Option> table, const std::string& name) {
  std::vector<std::string_view> candidates;
  const Option* by_prefix = nullptr;
  bool ambiguous = false;  // candidates are rows, not names of one
  for (const Option& option : table) {
    const auto consider = [&](std::string_view candidate) {
      if (candidate == name) return true;
      if (candidate.starts_with(name)) {
        candidates.push_back(candidate);
        ambiguous |= by_prefix != nullptr && by_prefix != &option;
        by_prefix = &option;
      }
      return false;
    };
    if (consider(option.name)) return &option;
    for (const std::string_view alias : option.aliases) {
      if (consider(alias)) return &option;
    }
  }
  if (ambiguous) {
    return invalid("ambiguous option: --{} could match --{}", name, fmt::join(candidates, ", --"));
  }
  if (by_prefix) return by_prefix;
  std::vector<std::string_view> known;
  for (const Option& option : table) known.push_back(option.name);
  const std::string hint = nearest(name, known);
  return invalid("unrecognized arguments: --{}{}", name,
                 hint.empty() ? "" : fmt::format(" (did you mean --{}?)", hint));
}

Status check_value(const Option& option, const std::string& value) {
  const auto& choices = option.choices;
  if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end()) {
    return invalid("argument --{}: invalid choice: '{}' (choose from '{}')", option.name, value,
                   fmt::join(choices, "', '"));
  }
  if (option.type == OptionType::kInt && !parse_number<int64_t>(value)) {
    return invalid("argument --{}: invalid int value: '{}'", option.name, value);
  }
  if (option.type == OptionType::kHuman && !parse_human_integer(value)) {
    return invalid("argument --{}: Invalid integer value: '{}' (digits, or with k, M, G, T, Ki, Mi, "
                   "Gi, Ti)", option.name, value);
  }
  if (option.type == OptionType::kFloat) {
    const auto number = parse_number<double>(value);
    if (!number || !std::isfinite(*number)) {
      return invalid("argument --{}: invalid float value: '{}'", option.name, value);
    }
  }
  return {};
}

Status refuse(const Option& option, const std::vector<std::string>& values) {
  if (option.status != Option::Status::kRefused) return {};
  if (values.size() == 1 && !option.neutral.empty() && values[0] == option.neutral) return {};
  return fail(ErrorCode::kUnsupported, "argument --{}: {}", option.name, option.note);
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

std::string_view status_word(Option::Status status) {
  if (status == Option::Status::kWorks) return "works";
  return status == Option::Status::kNoEffect ? "no effect" : "refused";
}

}  // namespace

std::optional<int64_t> parse_human_integer(std::string_view text) {
  struct Suffix {
    std::string_view name;
    int64_t factor;
  };
  static constexpr Suffix kSuffixes[] = {{"Ki", int64_t{1} << 10},
                                         {"Mi", int64_t{1} << 20},
                                         {"Gi", int64_t{1} << 30},
                                         {"Ti", int64_t{1} << 40},
                                         {"k", 1'000},
                                         {"M", 1'000'000},
                                         {"G", 1'000'000'000},
                                         {"T", 1'000'000'000'000}};
  const auto suffix =
      std::ranges::find_if(kSuffixes, [text](const Suffix& s) { return text.ends_with(s.name); });
  if (suffix == std::end(kSuffixes)) return parse_number<int64_t>(text);
  const bool decimal = suffix->name.size() == 1;
  text.remove_suffix(suffix->name.size());
  // "16.1k" is 161 tenths of a thousand: in binary floating point it would be no integer.
  const size_t point = decimal ? text.find('.') : std::string_view::npos;
  std::string digits(text.substr(0, point));
  int64_t factor = suffix->factor;
  if (point != std::string_view::npos) {
    std::string_view fraction = text.substr(point + 1);
    if (fraction.empty() || !std::ranges::all_of(fraction, is_digit)) return std::nullopt;
    while (fraction.ends_with('0')) fraction.remove_suffix(1);
    for (size_t i = 0; i < fraction.size(); ++i) {
      if (factor % 10 != 0) return std::nullopt;  // less than one is left over
      factor /= 10;
    }
    digits += fraction;
  }
  const auto value = parse_number<int64_t>(digits);
  int64_t scaled = 0;
  if (!value || __builtin_mul_overflow(*value, factor, &scaled)) return std::nullopt;
  return scaled;
}

std::string nearest(std::string_view word, std::span<const std::string_view> known) {
  std::string_view best;
  size_t best_distance = std::max<size_t>(word.size() / 3, 2) + 1;
  for (const std::string_view candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return std::string(best);
}

Result<OptionValues> parse_options(std::span<const Option> table, std::span<const std::string> args) {
  OptionValues result(table);
  for (size_t i = 0; i < args.size(); ++i) {
    if (!args[i].starts_with("--") || args[i].size() < 3) {
      return invalid("unrecognized arguments: {}", args[i]);
    }
    const std::string word = args[i].substr(2);
    const size_t equals = word.find('=');
    const Option& option = *TRY(find_option(table, canonical(word.substr(0, equals))));
    std::vector<std::string> values;
    if (equals != std::string::npos) {
      if (option.type == OptionType::kFlag) {
        return invalid("argument --{}: ignored explicit argument '{}'", option.name,
                       word.substr(equals + 1));
      }
      values.push_back(word.substr(equals + 1));
    } else if (option.type == OptionType::kList) {
      while (i + 1 < args.size() && !is_option(args[i + 1])) values.push_back(args[++i]);
      if (values.empty()) return invalid("argument --{}: expected at least one argument", option.name);
    } else if (option.type != OptionType::kFlag) {
      if (i + 1 >= args.size() || is_option(args[i + 1])) {
        return invalid("argument --{}: expected one argument", option.name);
      }
      values.push_back(args[++i]);
    }
    for (const std::string& value : values) TRY(check_value(option, value));
    TRY(refuse(option, values));
    result.values_[std::string(option.name)] = std::move(values);  // the last one wins
  }
  return result;
}

const Option& OptionValues::row(std::string_view name) const {
  const auto found = std::find_if(table_.begin(), table_.end(),
                                  [&](const Option& option) { return option.name == name; });
  CHECK(found != table_.end());
  return *found;
}

std::optional<std::string> OptionValues::maybe_text(std::string_view name) const {
  const Option& option = row(name);
  const auto found = values_.find(name);
  if (found != values_.end() && !found->second.empty()) return found->second[0];
  if (option.fallback.empty()) return std::nullopt;
  return std::string(option.fallback);
}

std::string OptionValues::text(std::string_view name) const { return maybe_text(name).value_or(""); }

std::optional<int64_t> OptionValues::integer(std::string_view name) const {
  const auto value = maybe_text(name);
  return value ? parse_human_integer(*value) : std::nullopt;
}

std::optional<double> OptionValues::number(std::string_view name) const {
  const auto value = maybe_text(name);
  return value ? parse_number<double>(*value) : std::nullopt;
}

std::vector<std::string> OptionValues::list(std::string_view name) const {
  const auto found = values_.find(name);
  return found == values_.end() ? std::vector<std::string>() : found->second;
}

std::vector<std::pair<std::string, std::string>> OptionValues::without_effect() const {
  std::vector<std::pair<std::string, std::string>> names;
  for (const auto& [name, values] : values_) {
    const Option& option = row(name);
    if (option.status == Option::Status::kNoEffect) names.emplace_back(name, option.note);
  }
  return names;
}

std::string help_text(std::string_view usage, std::span<const Option> table) {
  std::string text = fmt::format("usage: {} [options]\n", usage);
  std::string_view group;
  for (const Option& option : table) {
    if (option.group != group) {
      group = option.group;
      text += fmt::format("\n{}:\n", group);
    }
    std::string names = fmt::format("--{}", option.name);
    for (const std::string_view alias : option.aliases) names += fmt::format(", --{}", alias);
    if (!option.choices.empty()) {
      names += fmt::format(" {{{}}}", fmt::join(option.choices, ","));
    } else if (option.type != OptionType::kFlag) {
      names += option.type == OptionType::kString ? " TEXT" : option.type == OptionType::kList ? " WORD ..." : " N";
    }
    text += fmt::format("  {}\n      {}", names, option.help);
    if (!option.fallback.empty()) text += fmt::format(" (default {})", option.fallback);
    if (option.status == Option::Status::kNoEffect) text += fmt::format(" [no effect: {}]", option.note);
    if (option.status == Option::Status::kRefused) text += fmt::format(" [refused: {}]", option.note);
    text += '\n';
  }
  return text;
}

std::string markdown_table(std::span<const Option> table) {
  std::string text;
  std::string_view group;
  for (const Option& option : table) {
    if (option.group != group) {
      group = option.group;
      text += fmt::format("\n## {}\n\n| Flag | Default | Status | Meaning |\n|---|---|---|---|\n", group);
    }
    std::string names = fmt::format("`--{}`", option.name);
    for (const std::string_view alias : option.aliases) names += fmt::format(", `--{}`", alias);
    std::string meaning(option.help);
    if (!option.note.empty()) meaning += fmt::format(" ({})", option.note);
    std::replace(meaning.begin(), meaning.end(), '|', '/');
    text += fmt::format("| {} | {} | {} | {} |\n", names, option.fallback,
                        status_word(option.status), meaning);
  }
  return text;
}

}  // namespace fathom
