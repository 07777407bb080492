"""Servers under test: build/fathom on a free loopback port, one per set of flags."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

# Seconds after which something is stuck: far more than it takes. Sanitizers need more (tools/run_tests.sh).
STUCK = int(os.environ.get("FATHOM_TEST_PATIENCE", 300))

ROOT = pathlib.Path(__file__).resolve().parents[2]
FATHOM = pathlib.Path(os.environ.get("FATHOM_BUILD", ROOT / "build")) / "fathom"
DEMO = ROOT / "demo" / "bf16"
GOLDEN = ROOT / "tests" / "golden" / "models"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def environment(changes):
    """This process's environment with changes; None removes a variable."""
    return {name: value for name, value in {**os.environ, **(changes or {})}.items() if value is not None}


class Server:
    """A running server. Talks JSON; errors come back as (status, body)."""

    def __init__(self, *flags, port=None, env=None, log=None):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = log
        self.process = subprocess.Popen(
            [FATHOM, "launch_server", "--port", str(self.port), "--log-level", "warning", *map(str, flags)],
            env=environment(env), stderr=open(log, "w") if log else None)
        self.wait_ready()

    def wait_ready(self, seconds=STUCK):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}")
            try:
                with urllib.request.urlopen(self.url + "/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.05)
        raise RuntimeError("the server did not become ready")

    def request(self, method, path, body=None, headers=None, timeout=STUCK):
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method,
                                         headers={"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def post(self, path, body, **kwargs):
        status, text = self.request("POST", path, body, **kwargs)
        assert status == 200, (status, text)
        return json.loads(text)

    def get(self, path):
        status, text = self.request("GET", path)
        assert status == 200, (status, text)
        return json.loads(text) if text else None

    def generate(self, **body):
        return self.post("/generate", body)

    def load(self):
        """Running and waiting requests, and tokens in use."""
        return self.get("/get_load")[0]

    def wait_idle(self, seconds=STUCK):
        deadline = time.monotonic() + seconds
        while self.load()["num_reqs"] > 0:
            assert time.monotonic() < deadline, "requests are still running"
            time.sleep(0.02)

    def stop(self, expect=0):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=STUCK) == expect


@pytest.fixture(scope="session")
def demo():
    """The demo model, shared by all tests that leave it as they found it."""
    server = Server("--random-seed", 1, "--enable-metrics")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def parsing_demo():
    """The demo model with its thoughts and tool calls parsed."""
    server = Server("--random-seed", 1, "--reasoning-parser", "auto", "--tool-call-parser", "auto")
    yield server
    server.stop()


@pytest.fixture
def launch():
    """Starts servers for one test and stops them after it."""
    servers = []

    def start(*flags, **kwargs):
        servers.append(Server(*flags, **kwargs))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


def run_fathom(*args, timeout=STUCK, env=None):
    """A command that is expected to end: (exit code, stdout + stderr)."""
    run = subprocess.run([FATHOM, *map(str, args)], capture_output=True, text=True, timeout=timeout,
                         env=environment(env))
    return run.returncode, run.stdout + run.stderr


def kernel_targets():
    _, text = run_fathom("doctor")
    line = next(line for line in text.splitlines() if line.startswith("kernel targets"))
    return [name.strip(",") for name in line.split()[2:]]


def golden_differences(server, expected):
    """Absolute differences of the prompts' log probabilities from a golden case's, computed on its stored weights."""
    differences = []
    for name, sequence in expected["sequences"].items():
        answer = server.generate(input_ids=sequence["input_ids"], return_logprob=True, logprob_start_len=0,
                                 sampling_params={"temperature": 0, "max_new_tokens": 1, "ignore_eos": True})
        got = answer["meta_info"]["input_token_logprobs"]
        want = expected["modes"]["weights"]["sequences"][name]["input_token_logprobs"]
        assert len(got) == len(want) and got[0][0] is None
        assert [entry[1] for entry in got] == sequence["input_ids"]
        differences += [abs(g[0] - w) for g, w in zip(got[1:], want[1:])]
    return differences
