"""The request and response cases of tests/api (see its README), against the real server."""
import json
import pathlib

import pytest

FILES = sorted((pathlib.Path(__file__).parents[1] / "api" / "cases").glob("*.json"))
CASES = [case for file in FILES for case in json.loads(file.read_text(encoding="utf-8"))]

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


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(request, case):
    demo = request.getfixturevalue("parsing_demo" if case.get("parsers") else "demo")
    request, want = case["request"], case["expect"]
    body = request["raw_body"].encode() if "raw_body" in request else request["body"]
    status, text = demo.request(request["method"], request["path"], body, headers=request.get("headers"))
    assert status == want["status"], (status, text)
    if "events" in want:
        events = list(events_of(text))
        wanted = want["events"]
        if wanted[0] == "$more":
            wanted = wanted[1:]
            events = events[-len(wanted):]
        check(wanted, events, "events")
    elif "body" in want:
        check(want["body"], json.loads(text), "body")
