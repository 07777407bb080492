"""Health, keys, information, metrics, shutdown."""
import http.client
import json
import shutil
import signal
import struct
import threading
import time

import pytest

from conftest import GOLDEN, STUCK, run_fathom


def test_dry_run_prints_the_plan_and_exits():
    code, text = run_fathom("launch_server", "--dry-run")
    assert code == 0, text
    for word in ("DeepseekV3ForCausalLM", "weights", "KV pool", "scratch"):
        assert word in text, text


def test_help_lists_every_group():
    code, text = run_fathom("launch_server", "--help")
    assert code == 0 and "--model-path" in text and "Memory and scheduling" in text


def test_health_and_info(demo):
    assert demo.request("GET", "/health") == (200, "")
    assert demo.request("GET", "/health_generate")[0] == 200
    info = demo.get("/get_model_info")
    assert info["is_generation"] is True and info["served_model_name"] == "fathom-demo"
    server = demo.get("/get_server_info")
    assert server["chunked_prefill_size"] == 4096 and server["mem_fraction_static"] == 0.8 and server["pp_size"] == 1
    assert server["max_total_num_tokens"] > 0 and isinstance(server["internal_states"], list)
    assert server["internal_states"][0].get("avg_spec_accept_length") is None


def test_metrics_count_a_request(demo):
    def value(name):
        text = demo.request("GET", "/metrics")[1]
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{"))

    before = value("sglang:num_requests_total"), value("sglang:generation_tokens_total")
    demo.generate(text="Hello", sampling_params={"max_new_tokens": 3, "ignore_eos": True})
    deadline = time.monotonic() + STUCK
    while value("sglang:num_requests_total") < before[0] + 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert value("sglang:num_requests_total") == before[0] + 1
    assert value("sglang:generation_tokens_total") == before[1] + 3


def test_api_keys(launch):
    server = launch("--api-key", "k", "--admin-api-key", "a")
    key = lambda k: {"Authorization": "Bearer " + k}
    body = {"text": "Hello", "sampling_params": {"max_new_tokens": 1}}
    status, text = server.request("POST", "/generate", body)
    assert status == 401 and json.loads(text) == {"error": "Unauthorized"}
    assert server.request("POST", "/generate", body, headers=key("k"))[0] == 200
    assert server.request("POST", "/generate", body, headers=key("kk"))[0] == 401
    assert server.request("POST", "/flush_cache", headers=key("k"))[0] == 401
    assert server.request("POST", "/flush_cache", headers=key("a"))[0] == 200
    assert server.request("GET", "/health")[0] == 200


def terminate_with(server, requests, max_new_tokens):
    """SIGTERM while so many requests are pending: their answers, once all have come."""
    answers = []
    body = {"input_ids": [5, 6], "sampling_params": {"max_new_tokens": max_new_tokens, "ignore_eos": True}}
    threads = [threading.Thread(target=lambda: answers.append(server.request("POST", "/generate", body)))
               for _ in range(requests)]
    for thread in threads:
        thread.start()
    while server.load()["num_reqs"] < requests:
        time.sleep(0.005)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    return answers


def test_sigterm_finishes_running_requests(launch):
    server = launch()
    answers = terminate_with(server, 4, 400)
    assert [status for status, _ in answers] == [200] * 4
    assert all(json.loads(text)["meta_info"]["completion_tokens"] == 400 for _, text in answers)
    assert server.process.wait(timeout=STUCK) == 0


def test_a_later_sigterm_ends_at_once_but_not_an_echo(launch):
    server = launch("--max-running-requests", 1)
    body = {"input_ids": [5, 6], "sampling_params": {"max_new_tokens": 1000, "ignore_eos": True, "n": 100}}
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", "/generate", json.dumps(body), {"Content-Type": "application/json"})
    while server.load()["num_reqs"] < 100:
        time.sleep(0.005)
    for _ in range(2):  # as `timeout` does: to the process, then to its group
        server.process.send_signal(signal.SIGTERM)
    time.sleep(0.7)
    assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=STUCK) == 128 + signal.SIGTERM


def test_sigterm_while_paused_does_not_wait(launch):
    server = launch()
    server.post("/pause_generation", {"mode": "in_place"})
    start = time.monotonic()
    answers = terminate_with(server, 1, 5)
    assert answers[0][0] == 200 and json.loads(answers[0][1])["meta_info"]["completion_tokens"] == 5
    assert server.process.wait(timeout=STUCK) == 0
    assert time.monotonic() - start < 20, "--graceful-exit-timeout is 300 s"


def test_sigterm_answers_those_it_aborts(launch):
    server = launch("--graceful-exit-timeout", 0)
    server.request("POST", "/slow_down", {"forward_sleep_time": 0.02})
    answers = terminate_with(server, 8, 1000)
    assert [json.loads(text)["meta_info"]["finish_reason"]["type"] for _, text in answers] == ["abort"] * 8
    assert server.process.wait(timeout=STUCK) == 0


def test_kill_and_restart_on_the_same_port(launch):
    """kill -9 under load, and the next server on the port answers a thousand requests."""
    server = launch()
    body = json.dumps({"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 1, "temperature": 0}})
    expected = server.generate(**json.loads(body))["text"]

    def ask(times):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=STUCK)
        for _ in range(times):
            connection.request("POST", "/generate", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            texts.append((answer.status, json.loads(answer.read())["text"]))
        connection.close()

    def under_load():
        try:
            server.generate(input_ids=[8, 9], sampling_params={"max_new_tokens": 1000, "ignore_eos": True})
        except OSError:
            pass  # killed meanwhile

    for _ in range(2):
        clients = [threading.Thread(target=under_load) for _ in range(4)]
        for client in clients:
            client.start()
        while server.load()["num_reqs"] == 0:
            time.sleep(0.005)
        server.process.kill()
        server.process.wait()
        for client in clients:
            client.join()
        server = launch(port=server.port)
        texts = []
        clients = [threading.Thread(target=ask, args=(250,)) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        assert texts == [(200, expected)] * 1000


def test_idle_server_sleeps(launch):
    server = launch()
    server.generate(text="Hello", sampling_params={"max_new_tokens": 4})
    time.sleep(0.5)

    def cpu_ticks():
        fields = open(f"/proc/{server.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = cpu_ticks()
    time.sleep(2)
    assert cpu_ticks() - before <= 10  # of 200 per core


def test_max_new_tokens_0_fills_the_cache(demo):
    ids = list(range(600, 700))
    answer = demo.generate(input_ids=ids, sampling_params={"max_new_tokens": 0})
    assert answer["text"] == "" and answer["meta_info"]["finish_reason"] == {"type": "length", "length": 0}
    assert demo.generate(input_ids=ids + [5], sampling_params={"max_new_tokens": 1})["meta_info"]["cached_tokens"] == 100


def test_tokenize_round_trip(demo):
    text = "Hello, 12 apples! é"
    tokens = demo.post("/tokenize", {"prompt": text, "add_special_tokens": False})
    assert tokens["count"] == len(tokens["tokens"])
    assert demo.post("/detokenize", {"tokens": tokens["tokens"]})["text"] == text


@pytest.fixture
def checkpoint(tmp_path):
    return shutil.copytree(GOLDEN / "v3-bf16", tmp_path / "model")


def test_a_token_whose_embedding_is_nan(launch, checkpoint):
    path = checkpoint / "model.safetensors"
    data = bytearray(path.read_bytes())
    length, = struct.unpack("<Q", data[:8])
    row = 8 + length + json.loads(data[8:8 + length])["model.embed_tokens.weight"]["data_offsets"][0] + 7 * 256
    data[row:row + 256] = b"\xff\x7f" * 128
    path.write_bytes(data)
    flags = ["--model-path", checkpoint, "--skip-tokenizer-init"]

    server = launch(*flags)
    prompt_only = {"sampling_params": {"max_new_tokens": 0}, "return_logprob": True, "logprob_start_len": 0}
    sound = server.generate(input_ids=[5, 6, 8, 9], **prompt_only)["meta_info"]["input_token_logprobs"]
    for body in ({"sampling_params": {"max_new_tokens": 4}}, prompt_only):
        status, text = server.request("POST", "/generate", {"input_ids": [5, 6, 7, 8], **body})
        assert status == 500 and "not finite" in text, text
    assert server.generate(input_ids=[5, 6, 8, 9], **prompt_only)["meta_info"]["input_token_logprobs"] == sound

    server = launch(*flags, "--is-embedding")
    status, text = server.request("POST", "/encode", {"input_ids": [5, 6, 7, 8]})
    assert status == 500 and "not finite" in text, text
    assert len(server.post("/encode", {"input_ids": [5, 6, 8]})["embedding"]) == 128


def test_a_model_file_that_shrinks_while_it_is_served(launch, checkpoint, tmp_path):
    path = checkpoint / "model.safetensors"
    flags = ["--model-path", checkpoint, "--skip-tokenizer-init", "--skip-server-warmup"]
    body = {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 4, "temperature": 0}}
    copied = launch(*flags, "--weight-loader-disable-mmap")
    mapped = launch(*flags, log=tmp_path / "log")
    expected = copied.generate(**body)["output_ids"]
    with open(path, "r+b") as file:
        file.truncate(4096)
    assert copied.generate(**body)["output_ids"] == expected
    with pytest.raises(OSError):
        mapped.generate(**body)
    assert mapped.process.wait(timeout=STUCK) == -signal.SIGBUS
    log = (tmp_path / "log").read_text()
    assert "became shorter while it was served" in log and "--weight-loader-disable-mmap" in log, log
