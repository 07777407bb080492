"""Routes that change a running server."""
import gzip
import json
import re
import shutil
import threading
import time

import pytest
from conftest import DEMO, GOLDEN, STUCK

BODY = {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 8, "ignore_eos": True, "temperature": 0}}


def later(server, body):
    """A request on its own thread: (thread, list that gets (status, body))."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.request("POST", "/generate", body)))
    thread.start()
    return thread, answers


def wait_for(check, seconds=STUCK):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_profile_is_a_chrome_trace(launch, tmp_path):
    server = launch(env={"SGLANG_TORCH_PROFILER_DIR": str(tmp_path / "default")})
    assert server.request("POST", "/stop_profile")[0] == 400
    assert server.request("POST", "/start_profile", {"profile_id": "one", "output_dir": str(tmp_path)}) == (200, "Start profiling.\n")
    status, text = server.request("POST", "/start_profile", {})
    assert status == 400 and "already in progress" in text
    server.generate(**BODY)
    status, text = server.request("POST", "/stop_profile")
    assert status == 200 and text.startswith("Stop profiling.")
    trace = json.loads(gzip.open(tmp_path / "one-TP-0.trace.json.gz").read())
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert {"schedule", "forward", "sample", "commit"} <= {e["name"] for e in events}
    forward = [e for e in events if e["name"] == "forward"]
    assert [e["args"]["prompt_rows"] for e in forward] == [3] + [0] * 7
    assert all(e["dur"] >= 0 and e["ts"] > 0 for e in events)

    # A number of steps, into the folder of the environment.
    assert server.request("POST", "/start_profile", {"num_steps": 3, "profile_prefix": "p", "profile_id": "two"})[0] == 200
    server.generate(**BODY)
    wait_for(lambda: (tmp_path / "default" / "p-two-TP-0.trace.json.gz").exists())
    wait_for(lambda: server.request("POST", "/stop_profile")[0] == 400)
    trace = json.loads(gzip.open(tmp_path / "default" / "p-two-TP-0.trace.json.gz").read())
    assert len([e for e in trace["traceEvents"] if e["name"] == "forward"]) == 3
    status, text = server.request("POST", "/start_profile", {"profile_id": "../x"})
    assert status == 400 and "profile_id" in text


def test_expert_distribution(launch, tmp_path):
    server = launch(env={"SGLANG_EXPERT_DISTRIBUTION_RECORDER_DIR": str(tmp_path)})
    config = json.loads((DEMO / "config.json").read_text())

    def dump():
        """The counts, which then are no longer there."""
        assert server.request("POST", "/dump_expert_distribution_record") == (200, "Dump expert distribution record.\n")
        [file] = tmp_path.glob("expert_distribution_recorder_*.json")
        counts = json.loads(file.read_text())
        file.unlink()
        return counts

    status, text = server.request("POST", "/dump_expert_distribution_record")
    assert status == 400 and "/start_expert_distribution_record" in text
    assert server.request("POST", "/start_expert_distribution_record")[0] == 200
    server.generate(**BODY)
    layers = dump()
    rows = 3 + BODY["sampling_params"]["max_new_tokens"] - 1  # the last token is not an input
    dense = config["first_k_dense_replace"]
    assert len(layers) == config["num_hidden_layers"] and all(len(l) == config["n_routed_experts"] for l in layers)
    assert [sum(l) for l in layers] == [0] * dense + [rows * config["num_experts_per_tok"]] * (len(layers) - dense)

    assert server.request("POST", "/stop_expert_distribution_record")[0] == 200
    server.generate(**BODY)
    assert dump() == layers
    assert server.request("GET", "/start_expert_distribution_record")[0] == 200
    assert dump() == [[0] * config["n_routed_experts"]] * len(layers)


@pytest.mark.parametrize("mode", ["in_place", "retract"])
def test_paused_requests_go_on_where_they_were(launch, mode):
    server = launch("--random-seed", 1)
    body = {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 300, "ignore_eos": True, "temperature": 0}}
    expected = server.generate(**body)["output_ids"]
    thread, answers = later(server, body)
    wait_for(lambda: server.load()["num_reqs"] == 1)
    assert server.post("/pause_generation", {"mode": mode}) == {"message": "Generation paused successfully.", "status": "ok"}
    assert server.request("GET", "/health")[0] == 200 and server.request("GET", "/ping")[0] == 200
    assert server.request("GET", "/ready")[0] == 503
    other, more = later(server, BODY)
    time.sleep(0.3)
    assert not more, "new requests wait"
    assert server.post("/continue_generation", {})["status"] == "ok"
    thread.join()
    other.join()
    assert server.request("GET", "/ready")[0] == 200
    assert more[0][0] == 200
    assert json.loads(answers[0][1])["output_ids"] == expected


def test_pause_aborts_by_default(launch):
    server = launch()
    thread, answers = later(server, {"input_ids": [5], "sampling_params": {"max_new_tokens": 1500, "ignore_eos": True}})
    wait_for(lambda: server.load()["num_reqs"] == 1)
    server.post("/pause_generation", {})
    thread.join()
    assert json.loads(answers[0][1])["meta_info"]["finish_reason"]["type"] == "abort"
    wait_for(lambda: server.load()["num_reqs"] == 0)  # the books follow while it is paused
    status, text = server.request("POST", "/pause_generation", {"mode": "sideways"})
    assert status == 400 and "sideways" in text
    server.stop()  # a paused server ends in order


def test_internal_state(launch):
    server = launch("--max-running-requests", 4)
    status, text = server.request("POST", "/set_internal_state", {"server_args": {"max_running_requests": 2, "schedule_policy": "lpm"}})
    assert status == 200 and json.loads(text) == {"updated": True, "server_args": {"max_running_requests": 2, "schedule_policy": "lpm"}}
    info = server.get("/server_info")
    assert info["max_running_requests"] == 2 and info["schedule_policy"] == "lpm"
    threads = [later(server, {"input_ids": [i], "sampling_params": {"max_new_tokens": 100, "ignore_eos": True}})[0] for i in range(4)]
    most = 0
    while any(t.is_alive() for t in threads):
        load = server.load()
        most = max(most, load["num_reqs"] - load["num_waiting_reqs"])
    assert most <= 2
    for args, word in (({"tp_size": 2}, "tp_size"), ({"max_running_requests": 5}, "max_running_requests"),
                       ({"schedule_policy": "best"}, "schedule_policy")):
        status, text = server.request("POST", "/set_internal_state", {"server_args": args})
        assert status == 400 and json.loads(text)["updated"] is False and word in json.loads(text)["message"]
    assert server.request("POST", "/set_internal_state", {})[0] == 400
    # Values nested so deeply that copying or printing them would overflow the stack.
    for name in ("max_running_requests", "nope"):
        deep = '{"server_args": {"%s": %s}}' % (name, "[" * 200_000 + "]" * 200_000)
        status, text = server.request("POST", "/set_internal_state", deep.encode())
        assert status == 400 and "nested deeper than 128" in text


def test_a_flush_that_waits_holds_nobody_up(launch, tmp_path):
    server = launch(env={"SGLANG_TORCH_PROFILER_DIR": str(tmp_path)})
    server.request("POST", "/slow_down", {"forward_sleep_time": 0.02})
    running, _ = later(server, {"input_ids": [5], "sampling_params": {"max_new_tokens": 1000, "ignore_eos": True}})
    wait_for(lambda: server.load()["num_reqs"] == 1)
    answers = []
    flush = threading.Thread(target=lambda: answers.append(server.request("POST", "/flush_cache?timeout=600")))
    flush.start()
    for _ in range(30):
        assert server.request("POST", "/flush_cache")[0] == 400
    assert server.request("POST", "/start_profile", {"profile_id": "x"})[0] == 200
    assert server.request("POST", "/stop_profile")[0] == 200
    assert not answers and running.is_alive()
    server.request("POST", "/abort_request", {"abort_all": True})
    flush.join()
    running.join()
    assert answers[0][0] == 200 and answers[0][1].startswith("Cache flushed.")


def test_slow_down(launch):
    server = launch()
    assert server.request("POST", "/slow_down", {"forward_sleep_time": 0.05}) == (200, "")
    start = time.monotonic()
    server.generate(**BODY)
    assert time.monotonic() - start > 0.3
    assert server.request("POST", "/slow_down", {"forward_sleep_time": None})[0] == 200
    assert server.request("POST", "/slow_down", {"forward_sleep_time": -1})[0] == 400


def test_weights_from_disk(launch, tmp_path):
    server = launch("--model-path", DEMO, "--skip-server-warmup")
    expected = server.generate(**BODY)["output_ids"]
    status, text = server.request("POST", "/update_weights_from_disk", {"model_path": str(tmp_path / "nowhere")})
    assert status == 400 and json.loads(text)["success"] is False and "nowhere" in text
    other = next(folder for folder in sorted(GOLDEN.iterdir()) if (folder / "config.json").exists())
    status, text = server.request("POST", "/update_weights_from_disk", {"model_path": str(other)})
    assert status == 400 and "another model" in text
    assert server.generate(**BODY)["output_ids"] == expected, "refused weights change nothing"
    # Of the same shapes, but a step of it would need more memory than there is.
    wider = tmp_path / "wider"
    shutil.copytree(DEMO, wider)
    config = json.loads((wider / "config.json").read_text())
    config["num_experts_per_tok"] += 1
    (wider / "config.json").write_text(json.dumps(config))
    status, text = server.request("POST", "/update_weights_from_disk", {"model_path": str(wider)})
    assert status == 400 and "num_experts_per_tok is" in text

    copy = tmp_path / "copy"
    shutil.copytree(DEMO, copy)
    running, answers = later(server, {"input_ids": [9], "sampling_params": {"max_new_tokens": 100, "ignore_eos": True}})
    answer = server.post("/update_weights_from_disk", {"model_path": str(copy), "weight_version": "v2"})
    running.join()
    assert answers[0][0] == 200, "running requests finish first"
    assert answer == {"success": True, "message": "Succeeded to update model weights.", "num_paused_requests": 0}
    info = server.get("/model_info")
    assert info["model_path"] == str(copy) and info["weight_version"] == "v2"
    answer = server.generate(**BODY)
    assert answer["output_ids"] == expected and answer["meta_info"]["weight_version"] == "v2"
    chat = server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1})
    assert chat["metadata"] == {"weight_version": "v2"}

    # While paused the weights change at once, and requests go on with them.
    running, answers = later(server, {"input_ids": [9], "sampling_params": {"max_new_tokens": 200, "ignore_eos": True}})
    wait_for(lambda: server.load()["num_reqs"] == 1)
    server.post("/pause_generation", {"mode": "in_place"})
    assert server.post("/update_weights_from_disk", {"model_path": str(copy)})["success"]
    server.post("/continue_generation", {})
    running.join()
    assert json.loads(answers[0][1])["meta_info"]["completion_tokens"] == 200

    # Random weights of the same shapes give other tokens.
    server.post("/update_weights_from_disk", {"model_path": str(copy), "load_format": "dummy"})
    answer = server.generate(**BODY)
    assert answer["output_ids"] != expected and answer["meta_info"]["cached_tokens"] == 0

    # Nobody finds what a request that was paused in place has computed with the old ones.
    prompt = {"input_ids": list(range(300, 400)), "sampling_params": {"max_new_tokens": 8, "ignore_eos": True, "temperature": 0}}
    running, answers = later(server, {**prompt, "sampling_params": {"max_new_tokens": 500, "ignore_eos": True}})
    wait_for(lambda: server.load()["num_reqs"] == 1)
    server.post("/pause_generation", {"mode": "in_place"})
    assert server.post("/update_weights_from_disk", {"model_path": str(copy)})["success"]
    server.post("/continue_generation", {})
    meanwhile = server.generate(**prompt)
    running.join()
    assert json.loads(answers[0][1])["meta_info"]["completion_tokens"] == 500
    afterwards = server.generate(**prompt)
    assert meanwhile["meta_info"]["cached_tokens"] == 0 < afterwards["meta_info"]["cached_tokens"]
    uncached = server.generate(**prompt, cache_prompt=False)["output_ids"]
    assert meanwhile["output_ids"] == afterwards["output_ids"] == uncached
    status, text = server.request("POST", "/update_weights_from_tensor", {})
    assert status == 400 and "/update_weights_from_disk" in text


def test_weights_by_name(launch):
    server = launch("--model-path", DEMO, "--skip-server-warmup")
    rows = server.post("/get_weights_by_name", {"name": "model.norm.weight", "truncate_size": 3})
    assert len(rows) == 3 and all(isinstance(x, float) for x in rows)
    rows = server.post("/get_weights_by_name", {"name": "model.embed_tokens.weight", "truncate_size": 2})
    assert len(rows) == 2 and len(rows[0]) == len(rows[1]) > 8
    status, text = server.request("POST", "/get_weights_by_name", {"name": "nope"})
    assert status == 400 and "nope" in text


def test_weights_of_the_embedded_model(launch):
    server = launch()
    assert len(server.post("/get_weights_by_name", {"name": "model.norm.weight", "truncate_size": 3})) == 3
    expected = server.generate(**BODY)["output_ids"]
    server.post("/update_weights_from_disk", {"model_path": str(DEMO), "load_format": "dummy"})
    assert server.generate(**BODY)["output_ids"] != expected
    name = server.get("/server_info")["tokenizer_path"]
    assert server.post("/update_weights_from_disk", {"model_path": name})["success"]
    assert server.generate(**BODY)["output_ids"] == expected


def test_weights_by_name_reads_no_more_than_it_shows(launch):
    server = launch("--model-path", DEMO, "--skip-server-warmup", "--weight-loader-disable-mmap")

    def peak():
        status = open(f"/proc/{server.process.pid}/status").read()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10
    before = peak()
    server.post("/get_weights_by_name", {"name": "model.norm.weight"})
    assert peak() - before < (DEMO / "model.safetensors").stat().st_size / 2


def test_waiting_and_running_timeouts(launch):
    server = launch("--max-running-requests", 1, env={"SGLANG_REQ_WAITING_TIMEOUT": "2"})  # the first may need long on a busy machine
    server.request("POST", "/slow_down", {"forward_sleep_time": 0.1})
    first, answers = later(server, {"input_ids": [5], "sampling_params": {"max_new_tokens": 60, "ignore_eos": True}})
    wait_for(lambda: server.load()["num_reqs"] == 1)
    status, text = server.request("POST", "/generate", BODY)
    assert status == 503 and "Request waiting timeout reached." in text
    first.join()
    assert answers[0][0] == 200
    server.stop()

    server = launch(env={"SGLANG_REQ_RUNNING_TIMEOUT": "1"})
    server.request("POST", "/slow_down", {"forward_sleep_time": 0.02})
    status, text = server.request("POST", "/generate", {"input_ids": [5], "sampling_params": {"max_new_tokens": 500, "ignore_eos": True}})
    assert "Request running timeout reached." in text


def test_priorities(launch):
    server = launch("--enable-priority-scheduling", "--max-running-requests", 1, "--max-queued-requests", 1)
    server.request("POST", "/slow_down", {"forward_sleep_time": 0.01})
    low, low_answer = later(server, {"input_ids": [5], "sampling_params": {"max_new_tokens": 150, "ignore_eos": True}, "priority": 0})
    wait_for(lambda: server.load()["num_reqs"] == 1)
    waiting, waiting_answer = later(server, {**BODY, "priority": 1})
    wait_for(lambda: server.load()["num_waiting_reqs"] == 1)
    urgent = server.generate(**BODY, priority=100)  # displaces the waiting one, takes the running one's place
    assert urgent["meta_info"]["completion_tokens"] == 8 and not low_answer
    waiting.join()
    assert waiting_answer[0][0] == 503 and "aborted by a higher priority request" in waiting_answer[0][1]
    low.join()
    meta = json.loads(low_answer[0][1])["meta_info"]
    assert meta["completion_tokens"] == 150 and meta["num_retractions"] == 1


def test_priorities_can_be_refused(launch):
    server = launch("--abort-on-priority-when-disabled")
    status, text = server.request("POST", "/generate", {**BODY, "priority": 1})
    assert status == 503 and "Using priority is disabled" in text
    assert server.request("POST", "/generate", BODY)[0] == 200


def test_everything_at_once(launch):
    """Clients ask all the time while every admin route is used: nobody gets other tokens, an error or no answer."""
    server = launch("--model-path", DEMO, "--random-seed", 1, "--enable-metrics", "--max-total-tokens", 300,
                    "--schedule-conservativeness", 0.01)
    bodies = [{"input_ids": [20 + i, 30 + i], "rid": f"client-{i}-",
               "sampling_params": {"max_new_tokens": 60, "min_new_tokens": 60, "temperature": 0}} for i in range(8)]
    alone = [server.generate(**body)["output_ids"] for body in bodies]
    done = threading.Event()
    wrong = []

    def client(i):
        while not done.is_set():
            status, text = server.request("POST", "/generate", bodies[i])
            reason = json.loads(text)["meta_info"]["finish_reason"]["type"] if status == 200 else None
            if status != 200 or (reason != "abort" and json.loads(text)["output_ids"] != alone[i]):
                wrong.append((status, text[:300]))

    clients = [threading.Thread(target=client, args=(i,)) for i in range(len(bodies))]
    for thread in clients:
        thread.start()
    try:
        for _ in range(2):
            for path, body in (("/pause_generation", {"mode": "retract"}), ("/continue_generation", {}),
                               ("/pause_generation", {"mode": "in_place"}), ("/continue_generation", {}),
                               ("/update_weights_from_disk", {"model_path": str(DEMO)}),
                               ("/abort_request", {"rid": "client-1"}), ("/slow_down", {"forward_sleep_time": 0.001}),
                               ("/set_internal_state", {"server_args": {"max_running_requests": 3}}),
                               ("/get_weights_by_name", {"name": "model.norm.weight"}), ("/slow_down", {}),
                               ("/set_internal_state", {"server_args": {"max_running_requests": 150, "schedule_policy": "lpm"}}),
                               ("/update_weights_from_disk", {"model_path": str(DEMO), "abort_all_requests": True})):
                status, text = server.request("POST", path, body)
                assert status == 200, (path, text)
            assert server.request("GET", "/flush_cache")[0] in (200, 400)
            for path in ("/health_generate", "/metrics", "/server_info", "/v1/loads?include=all"):
                assert server.request("GET", path)[0] == 200
    finally:
        done.set()
        for thread in clients:
            thread.join()
    assert not wrong, wrong[:3]
    load = server.load()
    assert load["num_reqs"] == load["num_tokens"] == 0
    assert server.request("POST", "/flush_cache")[0] == 200
    assert [server.generate(**body)["output_ids"] for body in bodies] == alone
