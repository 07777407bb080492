"""Metrics, dashboards, logs, traces, records."""
import http.server
import json
import pathlib
import re
import threading
import time

from conftest import ROOT, STUCK, run_fathom

TINY = {"text": "Hello", "sampling_params": {"max_new_tokens": 4, "ignore_eos": True}}


def samples(text):
    """[(name, {label: value}, number)]"""
    found = []
    for line in text.splitlines():
        match = re.match(r'([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$', line)
        if match:
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            found.append((match[1], labels, float(match[3])))
    return found


def metrics_of(server):
    status, text = server.request("GET", "/metrics")
    assert status == 200
    return samples(text)


def eventually(check, seconds=STUCK):
    deadline = time.monotonic() + seconds
    while True:
        value = check()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.05)


GAUGES = """num_running_reqs num_queue_reqs num_grammar_queue_reqs num_used_tokens token_usage gen_throughput
 cache_hit_rate num_retracted_reqs num_paused_reqs max_total_num_tokens page_size num_pages context_len
 kv_available_tokens kv_evictable_tokens kv_used_tokens new_token_ratio utilization is_cuda_graph
 spec_accept_length spec_accept_rate weight_memory_usage_gb kv_cache_memory_usage_gb
 startup_available_gpu_memory_gb decode_sum_seq_lens startup_time_seconds http_requests_active""".split()
COUNTERS = """num_retracted_requests_total num_retracted_input_tokens_total num_retracted_output_tokens_total
 realtime_tokens_total prefill_effective_tokens_total forward_execution_seconds_total
 scheduler_idle_seconds_total cuda_graph_passes_total evicted_tokens_total prompt_tokens_total
 generation_tokens_total num_requests_total cached_tokens_total num_aborted_requests_total
 num_so_requests_total spec_verify_calls_total num_grammar_total num_grammar_cache_hit_total
 num_grammar_aborted_total num_grammar_timeout_total http_requests_total http_responses_total""".split()
HISTOGRAMS = """time_to_first_token_seconds inter_token_latency_seconds request_time_per_output_token_seconds
 time_per_output_token_seconds e2e_request_latency_seconds prompt_tokens_histogram
 uncached_prompt_tokens_histogram generation_tokens_histogram queue_time_seconds
 per_stage_req_latency_seconds grammar_compilation_time_seconds eviction_duration_seconds""".split()


def test_every_metric_exists_from_the_start(launch):
    server = launch("--enable-metrics", "--skip-server-warmup", "--extra-metric-labels", '{"zone": "a1"}',
                    "--bucket-time-to-first-token", "0.25", "0.75")
    status, text = server.request("GET", "/metrics")
    types = dict(re.findall(r"# TYPE (\S+) (\S+)", text))
    found = samples(text)
    names = {name for name, _, _ in found}
    for kind, wanted in (("gauge", GAUGES), ("counter", COUNTERS), ("histogram", HISTOGRAMS)):
        for name in wanted:
            assert types.get("sglang:" + name) == kind, name
            assert "sglang:" + name + ("_bucket" if kind == "histogram" else "") in names, name
    counters = {name: number for name, labels, number in found if name == "sglang:num_requests_total"}
    assert counters == {"sglang:num_requests_total": 0}
    assert all(labels.get("zone") == "a1" for name, labels, _ in found if name.startswith("sglang:"))
    edges = {labels["le"] for name, labels, _ in found if name == "sglang:time_to_first_token_seconds_bucket"}
    assert edges == {"0.25", "0.75", "+Inf"}
    running = next(labels for name, labels, _ in found if name == "sglang:num_running_reqs")
    assert running["engine_type"] == "unified" and running["tp_rank"] == "0" and "model_name" in running


def test_the_dashboard_asks_for_what_exists(demo):
    demo.generate(**TINY)
    known = {}
    for name, labels, _ in metrics_of(demo):
        known.setdefault(name, set()).update(labels)
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "fathom.json").read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", [])]
    queries += [v["query"]["query"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    assert len(queries) > 30
    for query in queries:
        used = re.findall(r"((?:sglang:|process_)\w+)(?:\{([^}]*)\})?", query)
        assert used, query
        for name, selector in used:
            assert name in known, (name, query)
            for label in re.findall(r"(\w+)\s*[=!]~?", selector) + sum(
                    (re.split(r",\s*", group) for group in re.findall(r"by \(([^)]*)\)", query)), []):
                assert label in known[name] or label == "le", (name, label, query)


def test_a_request_shows_in_the_metrics(demo):
    def total(name, **labels):
        return sum(v for n, l, v in metrics_of(demo) if n == "sglang:" + name and labels.items() <= l.items())

    before = {name: total(name) for name in ("e2e_request_latency_seconds_count", "queue_time_seconds_count",
                                             "generation_tokens_total", "forward_execution_seconds_total")}
    stages = total("per_stage_req_latency_seconds_count", stage="decode_forward")
    meta = demo.generate(**TINY)["meta_info"]
    assert meta["e2e_latency"] > 0 and meta["queue_time"] >= 0
    assert eventually(lambda: total("e2e_request_latency_seconds_count") == before["e2e_request_latency_seconds_count"] + 1)
    assert total("queue_time_seconds_count") == before["queue_time_seconds_count"] + 1
    assert total("generation_tokens_total") == before["generation_tokens_total"] + 4
    assert total("forward_execution_seconds_total") > before["forward_execution_seconds_total"]
    assert total("per_stage_req_latency_seconds_count", stage="decode_forward") == stages + 1


def test_grammars_show_in_the_metrics(demo):
    names = ("num_so_requests_total", "num_grammar_total", "num_grammar_cache_hit_total", "num_grammar_aborted_total",
             "grammar_compilation_time_seconds_count", "num_grammar_timeout_total", "num_grammar_queue_reqs")

    def counted():
        found = {name.removeprefix("sglang:"): number for name, _, number in metrics_of(demo)}
        return [found[name] for name in names]

    def ask(**params):
        return demo.request("POST", "/generate", {"text": "x", "sampling_params": {"max_new_tokens": 4, **params}})[0]

    before = counted()
    assert ask(regex="[0-9]{7}metrics") == 200  # compiled
    assert ask(regex="[0-9]{7}metrics", n=3) == 200  # found, three times for one request
    assert ask(regex="(metrics") == 400
    assert [now - then for now, then in zip(counted(), before)] == [3, 5, 3, 1, 1, 0, 0]


def lines_of(folder, pattern):
    return [line for file in pathlib.Path(folder).rglob(pattern) for line in file.read_text().splitlines()]


def test_request_logs_and_records(launch, tmp_path):
    log = tmp_path / "server.log"
    server = launch("--log-level", "info", "--log-requests", "--log-requests-level", "3", "--log-requests-format", "json",
                    "--log-requests-target", "stdout", tmp_path / "requests",
                    "--uvicorn-access-log-exclude-prefixes", "/health", "/get_load",
                    "--enable-request-time-stats-logging",
                    "--export-metrics-to-file", "--export-metrics-to-file-dir", tmp_path / "metrics", log=log)
    server.generate(**TINY, rid="log-me")
    records = eventually(lambda: [json.loads(line) for line in lines_of(tmp_path / "requests", "*.log")
                                  if "finished" in line])
    assert records[0]["event"] == "request.finished" and records[0]["status"] == 200
    assert json.loads(records[0]["obj"]["body"])["rid"] == "log-me"
    assert json.loads(records[0]["out"])["meta_info"]["completion_tokens"] == 4
    record = eventually(lambda: [json.loads(line) for line in lines_of(tmp_path / "metrics", "sglang-request-metrics-*.log")])[0]
    assert record["rid"] == "log-me" and record["completion_tokens"] == 4 and record["finish_reason"] == "length"
    assert 0 < record["time_to_first_token"] <= record["e2e_latency"]
    text = log.read_text()
    assert '"event":"request.received"' in text
    assert 'Req Time Stats(rid="log-me", input len=' in text
    assert '"POST /generate HTTP/1.1" 200' in text and "GET /health" not in text

    # Changed while serving.
    assert server.request("POST", "/configure_logging", {"log_requests": False}) == (200, "")
    before = len(lines_of(tmp_path / "requests", "*.log"))
    server.generate(**TINY)
    assert len(lines_of(tmp_path / "requests", "*.log")) == before
    assert server.request("POST", "/configure_logging", {"log_requests": True, "log_requests_level": 0})[0] == 200
    server.generate(**TINY)
    assert eventually(lambda: len(lines_of(tmp_path / "requests", "*.log")) == before + 2)
    assert "body" not in json.loads(lines_of(tmp_path / "requests", "*.log")[-1])["obj"]
    status, text = server.request("POST", "/configure_logging", {"log_level": "loud"})
    assert status == 400 and "log_level" in text
    # As SGLang's script has it: the dump is not done, and that is said once; the rest is.
    script = {"log_requests": True, "log_requests_level": 1, "dump_requests_folder": "/tmp/dump", "dump_requests_threshold": 1000}
    for _ in range(2):
        assert server.request("POST", "/configure_logging", script) == (200, "")
    before = len(lines_of(tmp_path / "requests", "*.log"))
    server.generate(**TINY)
    assert eventually(lambda: len(lines_of(tmp_path / "requests", "*.log")) == before + 2)
    assert "sampling_params" in json.loads(lines_of(tmp_path / "requests", "*.log")[-1])["obj"]
    assert log.read_text().count("dump_requests_folder has no effect") == 1


def test_crash_dump_survives_a_kill_and_not_an_orderly_end(launch, tmp_path):
    server = launch("--crash-dump-folder", tmp_path / "dumps")
    server.generate(**TINY, rid="last-words")
    assert eventually(lambda: any('"finished"' in line for line in lines_of(tmp_path / "dumps", "*.jsonl")))
    server.process.kill()
    server.process.wait()
    events = [json.loads(line) for line in lines_of(tmp_path / "dumps", "crash_dump_*.jsonl")]
    assert [e["event"] for e in events] == ["received", "finished"]
    assert json.loads(events[0]["body"])["rid"] == "last-words" and events[1]["status"] == 200

    server = launch("--crash-dump-folder", tmp_path / "orderly")
    server.generate(**TINY)
    server.stop()
    assert not list((tmp_path / "orderly").rglob("crash_dump*"))


def test_a_taken_port_leaves_no_crash_dump(demo, tmp_path):
    code, text = run_fathom("launch_server", "--port", demo.port, "--crash-dump-folder", tmp_path / "dumps")
    assert code == 1 and f"Port {demo.port} is already in use" in text
    assert not list(tmp_path.rglob("crash_dump*"))


def test_levels_of_the_log(launch, tmp_path):
    """The access log has its own, and why the server ends is told on every level."""
    log = tmp_path / "server.log"
    server = launch("--log-level", "error", "--log-level-http", "info", log=log)
    assert server.request("GET", "/ping")[0] == 200
    assert eventually(lambda: '"GET /ping HTTP/1.1" 200 OK' in log.read_text())
    assert "server_args=" not in log.read_text()
    code, text = run_fathom("launch_server", "--log-level", "critical", "--port", server.port)
    assert code == 1 and f"Port {server.port} is already in use" in text


class Collector:
    """An OTLP/HTTP collector that keeps what it gets."""

    def __init__(self):
        self.spans = spans = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/v1/traces" and self.headers["Content-Type"] == "application/json"
                for resource in body["resourceSpans"]:
                    for scope in resource["scopeSpans"]:
                        spans.extend(scope["spans"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_traces_reach_a_collector(launch):
    collector = Collector()
    try:
        server = launch("--enable-trace", "--otlp-traces-endpoint", f"127.0.0.1:{collector.server.server_port}")
        trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        status, _ = server.request("POST", "/generate", {**TINY, "rid": "traced"}, headers={"traceparent": f"00-{trace}-{parent}-01"})
        assert status == 200
        server.request("POST", "/generate", {**TINY, "rid": "not sampled"}, headers={"traceparent": f"00-{trace}-{parent}-00"})
        spans = eventually(lambda: collector.spans)
        by_name = {span["name"]: span for span in spans}
        assert set(by_name) == {"POST /generate", "tokenize", "prefill_waiting", "prefill_forward", "decode_forward"}
        root = by_name["POST /generate"]
        assert root["traceId"] == trace and root["parentSpanId"] == parent and root["kind"] == 2
        attributes = {a["key"]: a["value"] for a in root["attributes"]}
        assert attributes["rid"] == {"stringValue": "traced"}
        assert attributes["gen_ai.usage.completion_tokens"] == {"intValue": "4"}
        for span in spans:
            assert re.fullmatch("[0-9a-f]{16}", span["spanId"]) and span["traceId"] == trace
            assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
            assert span is root or span["parentSpanId"] == root["spanId"]
    finally:
        collector.server.shutdown()


def test_an_absent_collector_costs_nothing(launch):
    server = launch("--enable-trace", "--otlp-traces-endpoint", "127.0.0.1:1")
    assert server.generate(**TINY)["meta_info"]["completion_tokens"] == 4
    server.stop()
