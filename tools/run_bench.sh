#!/usr/bin/env bash
# make bench: kernels and whole models against this machine's limits, and against llama.cpp where
# `make bench PEER=1` has installed it. FULL=1: more shapes and repetitions. JSON in build/bench/.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/bench
detail=(--quick); repetitions=1
[[ ${FULL:-0} == 1 ]] && detail=() && repetitions=5

if [[ ${PEER:-0} == 1 ]]; then
  requirements=bench/llama_cpp/requirements.txt
  if ! cmp -s "$requirements" build/venv-peer/.requirements; then
    echo "fathom: building llama.cpp ($requirements) in build/venv-peer; this takes minutes"
    python3 -m venv build/venv-peer
    build/venv-peer/bin/pip install -q --disable-pip-version-check -r "$requirements"
    cp "$requirements" build/venv-peer/.requirements
  fi
fi

build/fathom bench kernels "${detail[@]}" --json build/bench/kernels.json
peer=(--without-peer)
[[ -x build/venv-peer/bin/python ]] && peer=(--python build/venv-peer/bin/python --gguf-folder build/bench)
python3 bench/llama_cpp/compare.py --repetitions $repetitions "${peer[@]}" --json build/bench/models.json
echo "fathom: bench/compare.py OLD.json NEW.json sets two such files side by side"
