// Units that messages for people speak in.
#pragma once

namespace fathom {

inline constexpr double kGiB = 1024.0 * 1024 * 1024;  // bytes

}  // namespace fathom
