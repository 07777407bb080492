"""A repeated prompt is found in the cache, and its first token comes sooner."""
import json
import time
import urllib.request


def first_token(server, ids):
    body = {"input_ids": ids, "stream": True, "sampling_params": {"temperature": 0, "max_new_tokens": 2, "ignore_eos": True}}
    request = urllib.request.Request(server.url + "/generate", json.dumps(body).encode(), {"Content-Type": "application/json"})
    start = time.perf_counter()
    with urllib.request.urlopen(request) as answer:
        line = answer.readline()
        return time.perf_counter() - start, json.loads(line[6:])["meta_info"]


def test_second_identical_prompt(launch, capsys):
    server = launch()
    ids = [(7 * i) % 1900 + 20 for i in range(1500)]
    cold, first = first_token(server, ids)
    warm, second = first_token(server, ids)
    with capsys.disabled():
        print(f"\n  TTFT of a 1,500-token prompt: {cold * 1e3:.1f} ms, then {warm * 1e3:.1f} ms ({warm / cold:.3f})")
    assert first["cached_tokens"] == 0
    assert second["cached_tokens"] == 1499


def test_flush_forgets(launch):
    server = launch()
    ids = list(range(100, 400))
    server.generate(input_ids=ids, sampling_params={"max_new_tokens": 1})
    assert server.request("POST", "/flush_cache")[0] == 200
    answer = server.generate(input_ids=ids, sampling_params={"max_new_tokens": 1})
    assert answer["meta_info"]["cached_tokens"] == 0


def test_namespaces_do_not_share(demo):
    ids = list(range(300, 500))
    body = {"input_ids": ids, "sampling_params": {"max_new_tokens": 1}}
    demo.generate(**body, extra_key="a")
    assert demo.generate(**body, extra_key="b")["meta_info"]["cached_tokens"] == 0
    assert demo.generate(**body, extra_key="a")["meta_info"]["cached_tokens"] == 199
