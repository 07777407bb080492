// CHECKs state what must hold if Fathom has no bug; a failed one prints both sides and aborts.
// Never use them on input from outside: that is a Result (base/result.h).
#pragma once

#include <fmt/format.h>

namespace fathom {
[[noreturn]] void check_failed(const char* file, int line, const char* what,
                               const std::string& detail);
}

#define FATHOM_CHECK_OP_(a, op, b)                                                       \
  do {                                                                                   \
    const auto& check_a_ = (a);                                                          \
    const auto& check_b_ = (b);                                                          \
    if (!(check_a_ op check_b_)) [[unlikely]]                                            \
      ::fathom::check_failed(__FILE__, __LINE__, #a " " #op " " #b,                      \
                             fmt::format("{} vs {}", check_a_, check_b_));               \
  } while (0)

#define CHECK(condition)                                                         \
  do {                                                                           \
    if (!(condition)) [[unlikely]]                                               \
      ::fathom::check_failed(__FILE__, __LINE__, #condition, std::string());     \
  } while (0)
#define CHECK_EQ(a, b) FATHOM_CHECK_OP_(a, ==, b)
#define CHECK_NE(a, b) FATHOM_CHECK_OP_(a, !=, b)
#define CHECK_LT(a, b) FATHOM_CHECK_OP_(a, <, b)
#define CHECK_LE(a, b) FATHOM_CHECK_OP_(a, <=, b)
#define CHECK_GT(a, b) FATHOM_CHECK_OP_(a, >, b)
#define CHECK_GE(a, b) FATHOM_CHECK_OP_(a, >=, b)

#ifdef NDEBUG
#define DCHECK(condition) (void)0
#else
#define DCHECK(condition) CHECK(condition)
#endif
