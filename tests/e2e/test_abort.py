"""/abort_request: by id, by the beginning of an id, all; who is aborted hears of it."""
import concurrent.futures
import time

from conftest import STUCK

LONG = {"max_new_tokens": 3000, "ignore_eos": True, "temperature": 0}


def wait_for_load(server, sequences):
    deadline = time.monotonic() + STUCK
    while server.load()["num_reqs"] != sequences:
        assert time.monotonic() < deadline, server.load()
        time.sleep(0.01)


def running(server, requests, sequences=None):
    """Requests under way in the background, as futures."""
    pool = concurrent.futures.ThreadPoolExecutor(len(requests))
    futures = [pool.submit(server.post, path, body) for path, body in requests]
    pool.shutdown(wait=False)
    wait_for_load(server, sequences or len(requests))
    return futures


def abort(server, **body):
    assert server.request("POST", "/abort_request", body) == (200, "")


def reason(future):
    return future.result(timeout=STUCK)["meta_info"]["finish_reason"]


def test_a_prefix_aborts_its_requests_alone(demo):
    one, two, other = running(demo, [("/generate", {"text": "a", "rid": rid, "sampling_params": LONG})
                                     for rid in ("run-1-x", "run-1-y", "run-2")])
    abort(demo, rid="run-1")
    assert reason(one)["type"] == reason(two)["type"] == "abort"
    wait_for_load(demo, 1)
    assert not other.done()
    abort(demo, rid="run-2")
    assert reason(other) == {"type": "abort", "message": "Aborted", "status_code": None, "err_type": None}
    demo.wait_idle()


def test_a_batch_is_aborted_by_its_name(demo):
    (batch,) = running(demo, [("/generate", {"text": ["a", "b"], "rid": "batch", "sampling_params": LONG})], sequences=2)
    abort(demo, rid="batch")
    answers = batch.result(timeout=STUCK)
    assert [answer["meta_info"]["id"] for answer in answers] == ["batch_0", "batch_1"]
    assert all(answer["meta_info"]["finish_reason"]["type"] == "abort" for answer in answers)
    demo.wait_idle()


def test_an_id_may_be_used_again_but_not_twice_at_once(demo):
    (first,) = running(demo, [("/generate", {"text": "a", "rid": "again", "sampling_params": LONG})])
    status, text = demo.request("POST", "/generate", {"text": "a", "rid": "again"})
    assert status == 400 and "Duplicate request ID detected: again" in text
    abort(demo, rid="again")
    assert reason(first)["type"] == "abort"
    assert demo.generate(text="a", rid="again", sampling_params={"max_new_tokens": 1})["meta_info"]["id"] == "again"


def test_all_routes_are_aborted_together(demo):
    chat = {"messages": [{"role": "user", "content": "x"}], "ignore_eos": True}
    futures = running(demo, [("/v1/chat/completions", {**chat, "max_tokens": 3000}), ("/v1/messages", {**chat, "max_tokens": 3000}),
                             ("/v1/responses", {"input": "x", "ignore_eos": True, "max_output_tokens": 3000})])
    abort(demo, rid="")  # nothing
    wait_for_load(demo, 3)
    abort(demo, abort_all=True)
    chat, message, response = (future.result(timeout=STUCK) for future in futures)
    assert chat["choices"][0]["finish_reason"] == "abort" and chat["usage"]["completion_tokens"] > 0
    assert message["stop_reason"] == "end_turn" and message["content"]
    assert response["status"] == "incomplete" and response["incomplete_details"] == {"reason": "aborted"}
    demo.wait_idle()
