#!/usr/bin/env python3
"""Structure checks of docs/architecture.md, in seconds. Prints every violation; exit 1 if there is one."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
LONGEST_FILE = 600
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|manager|misc)(_|\.|$)")
problems = []


def problem(where, what):
    problems.append(f"{where}: {what}")


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in out.decode().split("\0") if name and (ROOT / name).exists()]


def check_layers():
    """A folder includes only itself and what its CMake target names, directly or through it."""
    direct = {}
    for cmake in SRC.glob("*/CMakeLists.txt"):
        text = cmake.read_text()
        direct[cmake.parent.name] = set(re.findall(r"\bfathom_(?!library|options|text_rust|demo\b)(\w+)", text)) - {
            cmake.parent.name}
    allowed = {}

    def reach(folder):
        if folder not in allowed:
            allowed[folder] = {folder}
            for dep in direct.get(folder, ()):
                allowed[folder] |= reach(dep)
        return allowed[folder]

    for file in tracked("src/*.h", "src/*.cc", "src/*.inl"):
        folder = file.relative_to(SRC).parts[0]
        for number, line in enumerate(file.read_text().splitlines(), 1):
            include = re.match(r'#include "(\w+)/', line)
            if include and (SRC / include[1]).is_dir() and include[1] not in reach(folder):
                problem(f"{file.relative_to(ROOT)}:{number}", f"{folder} may not include {include[1]}")


def check_edges():
    """Below server and apps nothing reads a flag or an environment variable."""
    for file in tracked("src/*.cc", "src/*.h"):
        parts = file.relative_to(SRC).parts
        if parts[0] in ("server", "apps") or file.name.endswith("_test.cc") or "testing" in parts:
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.search(r"\bgetenv\(", line):
                problem(f"{file.relative_to(ROOT)}:{number}", "reads the environment below server/ and apps/")


def check_json():
    """Text becomes values in base/json.h, which limits how deeply they nest; config.json has stricter rules."""
    for file in tracked("src/*.cc", "src/*.h"):
        name = file.relative_to(SRC).as_posix()
        if name in ("base/json.cc", "model/config.cc") or "test" in name or "kernels/testing" in name:
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if re.search(r"[jJ]son::parse\(", line):
                problem(f"{file.relative_to(ROOT)}:{number}", "parses JSON without base/json.h")


def check_files():
    code = tracked("src/*", "rust/*.rs", "tests/*.py", "tests/*.cc", "tools/*", "demo/*.cc", "demo/*.h")
    for file in code:
        if file.suffix in (".json", ".lock", ".jsonl") or "golden" in file.parts:
            continue
        lines = file.read_text(errors="replace").count("\n")
        if lines > LONGEST_FILE:
            problem(file.relative_to(ROOT), f"{lines} lines, more than {LONGEST_FILE}")
        if VAGUE.search(file.name):
            problem(file.relative_to(ROOT), "a vague name: say what it is about")


def check_words():
    """The repository speaks of the project alone."""
    pattern = r"(/work/|/root/|/farm/|\b(index\.crates\.io-[0-9a-f]{8}))"
    out = subprocess.run(["git", "grep", "-nIE", pattern, "--", ".", ":!tools/check.py"], cwd=ROOT, capture_output=True)
    for line in out.stdout.decode().splitlines():
        problem(line[:120], "a path of one machine")


def check_headers_compile():
    flags = ["-std=gnu++23", "-fsyntax-only", "-I", str(SRC), "-I", str(ROOT / "rust/text/include"), "-I",
             str(ROOT / "demo"), "-DBOOST_ASIO_NO_DEPRECATED", "-x", "c++", "-"]
    # One compilation per header would take minutes. All in one unit, forwards and backwards, finds
    # headers that lean on what another one included before them.
    headers = [h for h in tracked("src/*.h") if not {"cpu", "testing"} & set(h.parts) and not h.name.startswith("test_")]
    for file in headers:
        if "#pragma once" not in file.read_text():
            problem(file.relative_to(ROOT), "no #pragma once")
    for order in (headers, headers[::-1]):
        text = "".join(f'#include "{h.relative_to(SRC)}"\n' for h in order)
        run = subprocess.run(["g++", *flags], input=text.encode(), capture_output=True)
        if run.returncode:
            problem("headers", run.stderr.decode().split("error:")[-1].splitlines()[0])


def check_generated_docs():
    binary = ROOT / "build/fathom"
    if not binary.exists():
        problem("docs/server-args.md", "build/fathom is missing: run make build")
        return
    want = subprocess.run([binary, "launch_server", "--help-markdown"], capture_output=True).stdout.decode()
    have = (ROOT / "docs/server-args.md").read_text() if (ROOT / "docs/server-args.md").exists() else ""
    if want != have:
        problem("docs/server-args.md", "out of date: run make docs")


def check_tests_are_built():
    """Globbing takes every *_test.cc of a library folder; other places must not hide tests."""
    built = {cmake.parent for cmake in SRC.glob("*/CMakeLists.txt") if "fathom_library(" in cmake.read_text()}
    for file in tracked("*_test.cc"):
        if not any(folder in file.parents for folder in built):
            problem(file.relative_to(ROOT), "is in no folder that builds tests")


def check_isa_symbols():
    run = subprocess.run([ROOT / "tools/check_isa_symbols", ROOT / "build"], capture_output=True)
    if run.returncode:
        problem("ISA symbols", (run.stdout + run.stderr).decode().strip())


def check_docs_links():
    for file in tracked("*.md"):
        if "golden" in file.parts:
            continue
        for target in re.findall(r"\]\(([^)#:]+)\)", file.read_text()):
            if not (file.parent / target).exists():
                problem(file.relative_to(ROOT), f"link to {target}, which does not exist")


for check in (check_layers, check_edges, check_json, check_files, check_words, check_headers_compile, check_generated_docs,
              check_tests_are_built, check_isa_symbols, check_docs_links):
    check()
for line in problems:
    print(line)
print(f"make check: {len(problems)} problem(s)")
sys.exit(1 if problems else 0)
