#!/usr/bin/env bash
# Runs the unit tests and the end-to-end tests of a build folder and prints one closing line.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build}
export FATHOM_TEST_TOKENIZER=$PWD/build/test-tokenizer
# A sanitizer's report goes to a file: it counts also when its server is killed by a test or its exit not looked at.
reports=$PWD/$folder/sanitizer-reports
rm -rf "$reports" && mkdir -p "$reports" build/test-results
export ASAN_OPTIONS=${ASAN_OPTIONS:-halt_on_error=1:log_path=$reports/asan}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:log_path=$reports/ubsan}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:suppressions=$PWD/tools/tsan.supp:log_path=$reports/tsan}

# Limits are for what hangs; with a sanitizer's checks scalar kernels take half an hour.
limit=900
[[ $folder == build ]] || { limit=3600 && export FATHOM_TEST_PATIENCE=1800; }
ctest --test-dir "$folder" -j "$(nproc)" --output-on-failure --timeout $limit --output-junit "$PWD/build/test-results/unit.xml"
unit=$?
FATHOM_BUILD=$PWD/$folder build/venv/bin/python -m pytest tests/e2e -q --junit-xml build/test-results/e2e.xml
e2e=$?
[[ -z $(ls "$reports") ]]
clean=$?
((clean == 0)) || head -n 60 "$reports"/*

python3 - "$clean" <<'PY'
import sys
import xml.etree.ElementTree as ET
passed, failed = 0, int(sys.argv[1])
for name in ("unit", "e2e"):
    try:
        root = ET.parse(f"build/test-results/{name}.xml").getroot()
    except (OSError, ET.ParseError):
        failed += 1
        continue
    for suite in [root] if root.tag == "testsuite" else root.iter("testsuite"):
        tests = int(suite.get("tests", 0))
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        passed += tests - bad - int(suite.get("skipped", 0))
        failed += bad
print(f"{passed} passed, {failed} failed")
PY
exit $((unit != 0 || e2e != 0 || clean != 0))
