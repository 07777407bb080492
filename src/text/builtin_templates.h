// Chat templates for checkpoints that come without one (spec: sampling-and-output 5).
#pragma once

#include <optional>
#include <string_view>

namespace fathom {

inline constexpr std::string_view kBuiltinTemplateNames =
    "deepseek, deepseek-v2, deepseek-v2.5, deepseek-v3, deepseek-r1, deepseek-v3.1";

std::optional<std::string_view> builtin_template(std::string_view name);

}  // namespace fathom
