"""SGLang's own clients, unmodified: bench_serving, the gsm8k script, and its router."""
import json
import re
import subprocess
import sys
import time
import urllib.request

import pytest

from conftest import DEMO, ROOT, STUCK, Server, free_port


def run(*command, timeout=STUCK, cwd=None):
    done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, timeout=timeout, cwd=cwd)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("backend", ["sglang", "sglang-oai"])
def test_bench_serving(demo, backend, tmp_path):
    text = run("sglang.bench_serving", "--backend", backend, "--port", demo.port, "--host", "127.0.0.1", "--dataset-name",
               "random-ids", "--num-prompts", 200, "--random-input-len", 48, "--random-output-len", 16,
               "--random-range-ratio", 0.5, "--model", DEMO, "--tokenizer", DEMO, "--output-file", tmp_path / "out.jsonl")
    assert re.search(r"Successful requests:\s+200\b", text), text


def test_few_shot_gsm8k(demo, tmp_path):
    shots = ROOT / "demo" / "fewshot.jsonl"
    # The script takes its shots from the head of the file and asks what follows.
    data = tmp_path / "gsm8k.jsonl"
    data.write_text(shots.read_text() + (ROOT / "demo" / "test.jsonl").read_text())
    text = run("sglang.test.few_shot_gsm8k", "--host", "http://127.0.0.1", "--port", demo.port, "--data-path", data,
               "--num-shots", 2, "--num-questions", 40, "--parallel", 16, "--max-new-tokens", 160, cwd=tmp_path)
    accuracy = float(re.search(r"Accuracy: ([\d.]+)", text)[1])
    assert accuracy >= 0.7, text


def test_router_survives_a_lost_server(launch):
    servers = [launch(), launch()]
    port, prometheus = free_port(), free_port()
    router = subprocess.Popen([sys.executable, "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port),
                               "--prometheus-port", str(prometheus), "--policy", "round_robin", "--worker-urls", *(s.url for s in servers)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    body = {"model": "default", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0}

    def chat():
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=STUCK) as answer:
            return json.loads(answer.read())["choices"][0]["message"]["content"]

    def eventually(seconds=STUCK):
        deadline = time.monotonic() + seconds
        while True:
            try:
                return chat()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    try:
        text = eventually()
        assert all(chat() == text for _ in range(6))
        servers[0].stop()
        assert eventually() == text
        assert all(eventually() == text for _ in range(10))
    finally:
        router.terminate()
        router.wait(timeout=STUCK)
