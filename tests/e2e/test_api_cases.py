"""The request and response cases of tests/api (see its README), against the real server."""
import concurrent.futures
import http.client
import json
import pathlib
import signal
import time

import pytest

from conftest import STUCK

API = pathlib.Path(__file__).parents[1] / "api"
CASES = [case for file in sorted((API / "cases").glob("*.json")) for case in json.loads(file.read_text(encoding="utf-8"))]
SITUATIONS = sorted(file.stem for file in (API / "situations").glob("*.json"))

KINDS = {
    "$any": lambda value: True,
    "$string": lambda value: isinstance(value, str),
    "$int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "$number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}


def check(want, got, path):
    if isinstance(want, str) and want in KINDS:
        assert KINDS[want](got), f"{path}: want {want}, got {got!r}"
    elif isinstance(want, str) and want.startswith("$contains:"):
        assert isinstance(got, str) and want.removeprefix("$contains:") in got, f"{path}: want {want}, got {got!r}"
    elif isinstance(want, list) and isinstance(got, list):
        assert len(want) == len(got), f"{path}: want {want}, got {got}"
        for i, (one, other) in enumerate(zip(want, got)):
            check(one, other, f"{path}[{i}]")
    elif isinstance(want, dict) and isinstance(got, dict):
        for key, value in want.items():
            if value == "$absent":
                assert key not in got, f"{path}.{key} must be absent"
            else:
                assert key in got, f"{path}.{key} is missing in {got}"
                check(value, got[key], f"{path}.{key}")
    else:
        assert want == got, f"{path}: want {want!r}, got {got!r}"


def events_of(text):
    assert text.endswith("\n\n")
    for event in text[:-2].split("\n\n"):
        name, separator, data = event.rpartition("\n")
        assert data.startswith("data: "), event
        data = data.removeprefix("data: ")
        data = data if data == "[DONE]" else json.loads(data)
        assert name == (f"event: {data['type']}" if separator else ""), event
        yield data


def answer_of(server, request):
    """(status, headers by lower-case name, body) of a case's request."""
    body = request["raw_body"].encode() if "raw_body" in request else request["body"]
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=STUCK)
    connection.request(request["method"], request["path"], data, request.get("headers", {"Content-Type": "application/json"}))
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, text


def check_answer(want, answer):
    status, headers, text = answer
    assert status == want["status"], (status, text)
    check(want.get("headers", {}), headers, "headers")
    if "events" in want:
        events = list(events_of(text))
        wanted = want["events"]
        if wanted[0] == "$more":
            wanted = wanted[1:]
            events = events[-len(wanted):]
        check(wanted, events, "events")
    elif "body" in want:
        check(want["body"], json.loads(text), "body")


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(request, case):
    server = request.getfixturevalue("parsing_demo" if case.get("parsers") else "demo")
    check_answer(case["expect"], answer_of(server, case["request"]))


def wait_until(condition):
    deadline = time.monotonic() + STUCK
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("name", SITUATIONS)
def test_situation(launch, name):
    situation = json.loads((API / "situations" / f"{name}.json").read_text(encoding="utf-8"))
    server = launch("--random-seed", 1, *situation["flags"], env=situation.get("env"))
    for request in situation.get("before", []):
        assert answer_of(server, request)[0] == 200
    pool = concurrent.futures.ThreadPoolExecutor(8)
    background = []
    for one in situation.get("background", []):  # in this order
        background.append((one.get("expect"), pool.submit(answer_of, server, one["request"])))
        wait_until(lambda: server.load()["num_reqs"] == len(background))
    for one in situation.get("then", []):
        pool.submit(answer_of, server, one["request"])
    for want, answer in background:
        if want:
            check_answer(want, answer.result(timeout=STUCK))
    if "signal" in situation:
        server.process.send_signal(signal.Signals[situation["signal"]])
        wait_until(lambda: answer_of(server, {"method": "GET", "path": "/ping", "body": None})[0] != 200)
    failures = []
    for case in situation["cases"]:
        try:
            check_answer(case["expect"], answer_of(server, case["request"]))
        except AssertionError as error:
            failures.append(f"{case['name']}: {error}")
    if "signal" in situation:
        server.process.kill()  # what still runs would do so for minutes
        server.process.wait()
    elif background:
        server.request("POST", "/abort_request", {"abort_all": True})
    pool.shutdown()
    assert not failures, "\n".join(failures)
