#!/usr/bin/env bash
# Runs every fuzz target for some seconds over its seeds in tests/fuzz/seeds/<target>.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
for fuzzer in build-fuzz/tests/fuzz/fuzz_*; do
  [[ -x $fuzzer && -f $fuzzer ]] || continue
  name=$(basename "$fuzzer")
  corpus=build-fuzz/corpus/$name
  mkdir -p "$corpus"
  printf '%s: %s seconds\n' "$name" "$seconds"
  "$fuzzer" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -verbosity=0 -print_final_stats=1 \
    "$corpus" "tests/fuzz/seeds/$name" 2>&1 | tail -4
done
