"""Requests that have killed servers of this kind: each gets a precise answer, neighbours are unharmed."""
import concurrent.futures
import json
import socket
import threading
import time

import pytest

from conftest import STUCK

OK = {"text": "Hello", "sampling_params": {"max_new_tokens": 2}}


def error_text(body):
    return json.dumps(json.loads(body), ensure_ascii=False)


@pytest.mark.parametrize("path", ["/generate", "/v1/completions", "/v1/chat/completions"])
@pytest.mark.parametrize("body", [b"", b"{", b"[1,2", b"\xff\xfe", b'{"text": "\xc3"}', b'{"text": NaN}', b"[" * 100000, b'{"a":' * 5000 + b"1" + b"}" * 5000,
                                  b'"text"', b"null", b'{"text": "\\ud800"}'], ids=range(11))
def test_malformed_json(demo, path, body):
    status, text = demo.request("POST", path, body)
    assert status == 400 and text, (status, text)
    assert json.loads(text)


@pytest.mark.parametrize("params,word", [
    ({"temperature": -0.1}, "temperature"), ({"temperature": "1"}, "temperature"), ({"top_p": 0}, "top_p"), ({"top_p": 1.5}, "top_p"),
    ({"top_k": 0}, "top_k"), ({"top_k": -2}, "top_k"), ({"top_k": 1.5}, "top_k"), ({"min_p": 2}, "min_p"),
    ({"frequency_penalty": 3}, "frequency_penalty"), ({"presence_penalty": -3}, "presence_penalty"), ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"max_new_tokens": -1}, "max_new_tokens"), ({"max_new_tokens": 2**31}, "max_new_tokens"), ({"max_new_tokens": True}, "max_new_tokens"),
    ({"min_new_tokens": 5, "max_new_tokens": 2}, "min_new_tokens"), ({"n": 0}, "n"), ({"n": 1000000}, "n"), ({"stop": ["x"] * 33}, "stop"),
    ({"stop": ["x" * 5000]}, "stop"), ({"stop": 5}, "stop"), ({"stop_regex": "("}, "stop_regex"), ({"logit_bias": {"99999999": 1}}, "logit_bias"),
    ({"logit_bias": {"x": 1}}, "logit_bias"), ({"stop_token_ids": "5"}, "stop_token_ids"), ([1, 2], "sampling_params"),
])
def test_sampling_ranges(demo, params, word):
    status, text = demo.request("POST", "/generate", {"text": "Hi", "sampling_params": params})
    assert status == 400 and word in error_text(text), (status, text)


@pytest.mark.parametrize("body,word", [
    ({}, "text"), ({"text": []}, "text"), ({"input_ids": []}, "input_ids"), ({"input_ids": [[]]}, "input_ids"), ({"input_ids": [-1]}, "-1"),
    ({"input_ids": [2048]}, "2048"), ({"input_ids": [1.5]}, "input_ids"), ({"input_ids": [1] * 5000}, "context length"),
    ({"input_ids": [1] * 4000, "sampling_params": {"max_new_tokens": 200}}, "context length"),
    ({"text": "x", "lora_path": "a"}, "lora"), ({"text": "x", "image_data": "a"}, "image"), ({"text": ["a", "b"], "rid": ["1", "1"]}, "1"),
    ({"text": "x", "return_logprob": True, "top_logprobs_num": 10**6}, "top_logprobs_num"),
    ({"text": "x", "return_logprob": True, "logprob_start_len": 10**6}, "logprob_start_len"),
    ({"text": ["x"] * 32, "return_logprob": True, "top_logprobs_num": 2000, "sampling_params": {"n": 32, "max_new_tokens": 100}},
     "at most 16777216"),
])
def test_bad_generate(demo, body, word):
    status, text = demo.request("POST", "/generate", body)
    assert status == 400 and word in error_text(text), (status, text)
    assert demo.generate(**OK)


@pytest.mark.parametrize("body,word", [
    ({"messages": []}, "Messages cannot be empty"), ({"messages": "hi"}, "messages"), ({}, "messages"),
    ({"messages": [{"role": "alien", "content": "x"}]}, "role"), ({"messages": [{"role": "user", "content": 5}]}, "content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "text"),
    ({"messages": [{"role": "user", "content": "x"}], "top_logprobs": 21, "logprobs": True}, "top_logprobs"),
    ({"messages": [{"role": "user", "content": "x"}], "n": 129}, "n"),
])
def test_bad_chat(demo, body, word):
    status, text = demo.request("POST", "/v1/chat/completions", {"model": "m", **body})
    assert status == 400 and word in error_text(text), (status, text)


def test_unknown_route_and_method(demo):
    assert demo.request("GET", "/nope")[0] == 404
    status, text = demo.request("DELETE", "/generate")
    assert status == 405 and "Method Not Allowed" in error_text(text)


def raw(server, data, read=True):
    s = socket.create_connection(("127.0.0.1", server.port), timeout=STUCK)
    s.sendall(data)
    if not read:
        return s
    answer = s.recv(65536)
    s.close()
    return answer


@pytest.mark.parametrize("data,status", [
    (b"NONSENSE\r\n\r\n", b" 400 "), (b"GET / HTTP/9.9\r\n\r\n", b" 4"), (b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", b" 400 "),
    (b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", b" 413 "),
    (b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(200)) + b"\r\n", b" 431 "),
    (b"GET / HTTP/1.1\r\nX: " + b"y" * 100000 + b"\r\n\r\n", b" 431 "),
    (b"POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", b" 400 "),
], ids=range(7))
def test_raw_http(demo, data, status):
    assert status in raw(demo, data).split(b"\r\n")[0]
    assert demo.generate(**OK)


def post_bytes(body):
    data = json.dumps(body).encode()
    return b"POST /generate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(data) + data


@pytest.mark.parametrize("stream", [False, True])
def test_vanishing_clients_free_the_engine(demo, stream):
    body = {"input_ids": [5, 6, 7], "stream": stream, "sampling_params": {"max_new_tokens": 4000, "ignore_eos": True}}
    sockets = [raw(demo, post_bytes(body), read=False) for _ in range(16)]
    deadline = time.monotonic() + STUCK
    while demo.load()["num_reqs"] < 16 and time.monotonic() < deadline:
        time.sleep(0.01)
    for s in sockets:
        s.close()
    demo.wait_idle()


def test_thousands_of_connections(demo):
    idle = [socket.create_connection(("127.0.0.1", demo.port), timeout=STUCK) for _ in range(800)]
    slow = [raw(demo, b"POST /generate HTTP/1.1\r\nContent-Len", read=False) for _ in range(200)]
    assert demo.generate(**OK)["meta_info"]["completion_tokens"] == 2
    for s in idle + slow:
        s.close()
    assert demo.generate(**OK)


def test_slow_reader_does_not_hold_neighbours(demo):
    body = {"input_ids": [5, 6, 7], "stream": True, "sampling_params": {"max_new_tokens": 2000, "ignore_eos": True}}
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(("127.0.0.1", demo.port))
    s.sendall(post_bytes(body))
    start = time.monotonic()
    assert demo.generate(**OK)["meta_info"]["completion_tokens"] == 2
    assert time.monotonic() - start < STUCK
    s.close()
    demo.wait_idle()


def test_long_texts_hold_up_no_neighbour(demo):
    """What makes a long text slow is the tokenizer: short texts do not wait behind it."""
    text = "\n" * (1 << 20)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        tokens = pool.submit(demo.post, "/tokenize", {"prompt": text})
        for _ in range(5):
            assert demo.generate(**OK)
        assert not tokens.done()
        assert tokens.result()["count"] > 100000
    for path, body in (("/generate", {"text": text * 20}), ("/v1/completions", {"prompt": text * 20}),
                       ("/v1/chat/completions", {"messages": [{"role": "user", "content": text * 20}]})):
        status, answer = demo.request("POST", path, body)
        assert status == 400 and "more than 8192 tokens) is longer than the model's context length (4096" in answer


@pytest.mark.parametrize("params", [{"logit_bias": {"5": 1e308, "6": -1e308}}, {"repetition_penalty": 1e-320}], ids=range(2))
def test_extreme_parameters_do_not_break_the_distribution(demo, params):
    answer = demo.generate(text="Hi", sampling_params={"max_new_tokens": 8, "ignore_eos": True, **params})
    assert answer["meta_info"]["completion_tokens"] == 8


def test_large_schemas_hold_up_no_small_one(demo):
    """A schema of 3,000 optional properties takes seconds to compile, whatever becomes of it."""
    def body(n):
        schema = {"type": "object", "properties": {f"p{n}_{i}": {"type": "integer"} for i in range(n)}}
        return {"text": "x", "sampling_params": {"max_new_tokens": 2, "json_schema": json.dumps(schema)}}

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        large = [pool.submit(demo.request, "POST", "/generate", body(n)) for n in range(3000, 3003)]
        time.sleep(0.1)
        for n in range(1, 6):
            assert demo.request("POST", "/generate", body(n))[0] == 200
        assert not large[-1].done()
        assert all(answer.result()[0] in (200, 400) for answer in large)


def test_queue_full(launch):
    server = launch("--max-running-requests", 1, "--max-queued-requests", 2)
    body = {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 1500, "ignore_eos": True}}
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: server.request("POST", "/generate", body), range(12)))
    codes = sorted(status for status, _ in answers)
    assert set(codes) == {200, 503} and codes.count(200) >= 2, codes
    assert all("queue is full" in text for status, text in answers if status == 503)


def test_duplicate_rid_in_flight(demo):
    body = {"rid": "same", "input_ids": [5, 6], "sampling_params": {"max_new_tokens": 1000, "ignore_eos": True}}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(demo.request, "POST", "/generate", body)
        while demo.load()["num_reqs"] == 0 and not first.done():
            time.sleep(0.005)
        status, text = demo.request("POST", "/generate", {**body, "sampling_params": {"max_new_tokens": 1}})
        assert status == 400 and "same" in text
        demo.request("POST", "/abort_request", {"rid": "sa"})
        status, text = first.result()
    assert status == 200 and json.loads(text)["meta_info"]["finish_reason"]["type"] == "abort"


def test_aborting_what_does_not_exist(demo):
    for rid in ("nobody", ""):
        assert demo.request("POST", "/abort_request", {"rid": rid})[0] == 200
    assert demo.generate(**OK)


def test_neighbours_are_unchanged_by_bad_requests(demo):
    good = {"text": "Question: 3+4?\nAnswer:", "sampling_params": {"temperature": 0, "max_new_tokens": 20}}
    want = demo.generate(**good)["output_ids"]
    stop = threading.Event()

    def attack():
        while not stop.is_set():
            demo.request("POST", "/generate", {"input_ids": [-1]})
            demo.request("POST", "/generate", b"{" * 1000)
            raw(demo, post_bytes({"input_ids": [9] * 500, "sampling_params": {"max_new_tokens": 100}}), read=False).close()

    thread = threading.Thread(target=attack)
    thread.start()
    try:
        for _ in range(20):
            assert demo.generate(**good)["output_ids"] == want
    finally:
        stop.set()
        thread.join()


def test_many_tiny_requests(demo):
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda i: demo.generate(input_ids=[i % 1000 + 10], sampling_params={"max_new_tokens": 1}), range(500)))
    assert len(answers) == 500
    demo.wait_idle()


def test_retraction_under_a_tiny_pool(launch):
    """min_new_tokens, not ignore_eos: the scheduler expects the latter to be as long as they say and admits no more."""
    server = launch("--max-total-tokens", 400, "--max-running-requests", 16, "--schedule-conservativeness", 0.01)
    body = {"input_ids": [5, 6, 7, 8], "sampling_params": {"max_new_tokens": 90, "min_new_tokens": 90, "temperature": 0}}
    alone = server.generate(**body)["output_ids"]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: server.generate(**body), range(16)))
    assert all(answer["output_ids"] == alone for answer in answers)
    assert sum(answer["meta_info"]["num_retractions"] for answer in answers) > 0
