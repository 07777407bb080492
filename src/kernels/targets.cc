#include "kernels/targets.h"

#include <cpuid.h>
#include <fmt/ranges.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "kernels/compute.h"

namespace fathom {
namespace {

struct Target {
  std::string_view name;
  bool (*runnable)();
  void (*add)(Ops&);
};

// Where kernels are compiled against emulated instructions (tests/emulated), any host has them all.
#ifdef FATHOM_EMULATED
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}
bool has_avx_vnni() {
  return has_avx2() && (kEmulated || __builtin_cpu_supports("avxvnni"));
}
bool has_avx512() {
  return has_avx2() &&
         (kEmulated || (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")));
}
bool has_avx512_vnni() {
  return has_avx512() && (kEmulated || __builtin_cpu_supports("avx512vnni"));
}
bool has_avx512_bf16() {
  return has_avx512_vnni() &&
         (kEmulated || (__builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("gfni") &&
                        __builtin_cpu_supports("avx512bf16")));
}

// AMX-TILE and the wanted bits of CPUID 7 in the processor, and the kernel's leave to use the 8 kB
// of tile registers, which Linux gives a process on request (arch_prctl ARCH_REQ_XCOMP_PERM).
bool has_amx(unsigned wanted) {
  if (kEmulated) return has_avx512_bf16();
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!has_avx512_bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kAmxTile = 1u << 24;
  if ((d & wanted) != wanted || (d & kAmxTile) == 0) return false;
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
constexpr unsigned kAmxBf16 = 1u << 22;
constexpr unsigned kAmxInt8 = 1u << 25;
bool has_amx_bf16() {
  return has_amx(kAmxBf16);
}
bool has_amx_int8() {
  return has_amx(kAmxBf16 | kAmxInt8);
}

// Weakest first: a target's table is those of all before it, each adding what it improves.
constexpr Target kTargets[] = {
    {"scalar", [] { return true; }, add_scalar},
    {"avx2", has_avx2, add_avx2},
    {"avx_vnni", has_avx_vnni, add_avx_vnni},
    {"avx512", has_avx512, add_avx512},
    {"avx512_vnni", has_avx512_vnni, add_avx512_vnni},
    {"avx512_bf16", has_avx512_bf16, add_avx512_bf16},
    {"amx_bf16", has_amx_bf16, add_amx_bf16},
    {"amx_int8", has_amx_int8, add_amx_int8},
};

}  // namespace

std::vector<std::string> runnable_targets() {
  std::vector<std::string> names;
  for (const Target& target : kTargets) {
    if (target.runnable()) names.emplace_back(target.name);
  }
  return names;
}

Result<Ops> ops_for(std::string_view name) {
  const std::vector<std::string> runnable = runnable_targets();
  const std::string wanted = name == "auto" ? runnable.back() : std::string(name);
  if (std::find(runnable.begin(), runnable.end(), wanted) == runnable.end()) {
    return fail(ErrorCode::kUnsupported,
                "kernel target '{}' cannot run on this machine; it runs: {}", wanted,
                fmt::join(runnable, ", "));
  }
  Ops ops{};
  for (const Target& target : kTargets) {
    if (!target.runnable()) continue;
    target.add(ops);
    ops.target = target.name.data();
    if (target.name == wanted) break;
  }
  return ops;
}

}  // namespace fathom
