# make serve   build and serve the demo model            make test    unit and end-to-end tests
# make build   only build: build/fathom                  make check   structure checks, in seconds
# make asan    tests under ASan and UBSan                 make tsan    tests under TSan
# make fuzz    libFuzzer targets, FUZZ_SECONDS each       make docs    regenerate generated documents
# make bench   speeds against this machine's limits; FULL=1 in detail, PEER=1 also against llama.cpp
# FATHOM_NO_INSTALL=1 skips the installation of missing packages. PORT=30000 is for make serve.
SHELL := /bin/bash
PORT ?= 30000
FUZZ_SECONDS ?= 60
CTEST := ctest --output-on-failure --timeout 600

.PHONY: build serve test unit e2e check docs asan tsan fuzz bench clean

build:
	@tools/install_deps.sh build
	@cmake --preset release > build.log 2>&1 || { cat build.log; exit 1; }; rm -f build.log
	@cmake --build --preset release --target fathom

serve: build
	@tools/serve_demo.sh $(PORT)

test: build
	@tools/install_deps.sh test
	@cmake --build --preset release
	@tools/run_tests.sh build

unit: build
	@tools/install_deps.sh test
	@cmake --build --preset release
	@cd build && FATHOM_TEST_TOKENIZER=$(CURDIR)/build/test-tokenizer $(CTEST)

e2e: build
	@tools/install_deps.sh test
	@build/venv/bin/python -m pytest tests/e2e -q

check: build
	@tools/install_deps.sh check
	@tools/check.py

docs: build
	@build/fathom launch_server --help-markdown > docs/server-args.md

asan:
	@tools/install_deps.sh test
	@cmake --preset asan > /dev/null && cmake --build --preset asan
	@tools/run_tests.sh build-asan

tsan:
	@tools/install_deps.sh test
	@cmake --preset tsan > /dev/null && cmake --build --preset tsan
	@tools/run_tests.sh build-tsan

fuzz:
	@tools/install_deps.sh fuzz
	@cmake --preset fuzz > /dev/null && cmake --build --preset fuzz --target fuzzers
	@tools/run_fuzzers.sh $(FUZZ_SECONDS)

bench: build
	@tools/run_bench.sh

clean:
	rm -rf build build-debug build-asan build-tsan build-fuzz
