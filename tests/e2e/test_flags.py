"""Flags whose effect is on the whole server: configuration files, checksums, loading."""
import hashlib
import json
import re
import shutil

from conftest import DEMO, run_fathom

BODY = {"input_ids": [5, 6, 7], "sampling_params": {"max_new_tokens": 8, "ignore_eos": True, "temperature": 0}}


def test_config_file_and_command_line(launch, tmp_path):
    config = tmp_path / "server.yaml"
    config.write_text("port: 1\nserved-model-name: from-file\nenable_metrics: true\nmax-running-requests: 3\n")
    server = launch("--config", config, "--max-running-requests", 5)
    info = server.get("/server_info")
    assert info["served_model_name"] == "from-file" and info["max_running_requests"] == 5
    assert server.request("GET", "/metrics")[0] == 200
    config.write_text("port: 1\n\nenable-metrik: true\n")
    code, text = run_fathom("launch_server", "--config", config)
    assert code == 2 and f"{config}:3: enable-metrik:" in text


def test_the_server_shows_what_flags_became(launch):
    server = launch("--reasoning-parser", "auto", "--tool-call-parser", "auto", "--chat-template", "deepseek-r1")
    for shown in (server.get("/model_info"), server.get("/server_info"), server.get("/server_info")["internal_states"][0]):
        assert (shown["reasoning_parser"], shown["tool_call_parser"]) == ("deepseek-r1", "deepseekv3")


def test_without_a_tokenizer_ids_come_and_go(launch):
    server = launch("--skip-tokenizer-init")
    answer = server.generate(**BODY)
    assert "text" not in answer and len(answer["output_ids"]) == 8
    chat = {"messages": [{"role": "user", "content": "Hi"}]}
    for path, body in (("/generate", {"text": "Hi"}), ("/tokenize", {"prompt": "Hi"}), ("/tokenize", chat),
                       ("/detokenize", {"tokens": [5]}), ("/v1/chat/completions", chat),
                       ("/v1/messages", {**chat, "model": "m", "max_tokens": 5}), ("/v1/responses", {"input": "Hi"}),
                       ("/v1/completions", {"prompt": "Hi"})):
        status, text = server.request("POST", path, body)
        assert status == 400 and "--skip-tokenizer-init: send input_ids, not text." in text, (path, text)
    for name in ("stop", "stop_regex"):
        params = {**BODY["sampling_params"], name: "x"}
        status, text = server.request("POST", "/generate", {**BODY, "sampling_params": params})
        assert status == 400 and name in text and "stop_token_ids" in text


def test_what_is_cut_is_said(launch, tmp_path):
    log = tmp_path / "server.log"
    server = launch("--context-length", 64, "--allow-auto-truncate", "--log-level", "info", log=log)
    server.generate(**BODY)
    assert "allow-auto-truncate:" not in log.read_text()
    assert len(server.generate(input_ids=[7] * 60, sampling_params=BODY["sampling_params"])["output_ids"]) == 4
    assert server.generate(input_ids=[7] * 80, sampling_params=BODY["sampling_params"])["meta_info"]["prompt_tokens"] == 63
    said = [line.split("truncate: ")[1] for line in log.read_text().splitlines() if "allow-auto-truncate:" in line]
    assert said == ["max_new_tokens is cut from 8 to 4", "a prompt is cut to its first 63 tokens",
                    "max_new_tokens is cut from 8 to 1"]


def test_checksums_and_reading_instead_of_mapping(launch, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(DEMO, model)
    sums = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in model.iterdir() if f.is_file()}
    (tmp_path / "sums.json").write_text(json.dumps(sums))
    mapped = launch("--model-path", model, "--model-checksum", tmp_path / "sums.json")
    expected = mapped.generate(**BODY)["output_ids"]
    mapped.stop()

    read = launch("--model-path", model, "--weight-loader-disable-mmap", "--delete-ckpt-after-loading")
    maps = open(f"/proc/{read.process.pid}/maps").read()
    assert ".safetensors" not in maps
    assert not list(model.glob("*.safetensors"))
    assert read.generate(**BODY)["output_ids"] == expected
    read.stop()

    shutil.copytree(DEMO, model, dirs_exist_ok=True)
    victim = next(model.glob("*.safetensors"))
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    code, text = run_fathom("launch_server", "--port", 0, "--model-path", model, "--model-checksum", tmp_path / "sums.json")
    assert code == 1 and victim.name in text and "SHA-256" in text


def test_mission_environment_is_accepted(launch, tmp_path):
    log = tmp_path / "log"
    server = launch("--log-level", "debug", "--decode-log-interval", 2, "--chunked-prefill-size", 64, log=log, env={
        "NCCL_IB_GID_INDEX": "3", "GLOO_SOCKET_IFNAME": "lo", "SGL_ENABLE_JIT_DEEPGEMM": "1", "SGLANG_CUTLASS_MOE": "1",
        "TORCH_CUDA_ARCH_LIST": "9.0", "HF_TOKEN": "hush", "SGLANG_LOG_STYLE": "new"})
    server.generate(**BODY)
    server.generate(input_ids=[9] * 100, sampling_params=BODY["sampling_params"])
    server.stop()
    text = log.read_text()
    assert "SGL_ENABLE_JIT_DEEPGEMM has no effect" in text and "hush" not in text
    assert re.search(r"Prefill batch, #new-seq: 1, .* #queue-req: 0, #pending-token: 0, cuda graph: False, input throughput", text)
    assert re.search(r"#new-token: 64, .* #pending-token: 36, ", text)
    assert re.search(r"Decode batch, .* token usage: [\d.]+, cuda graph: False, gen throughput .* #queue-req: 0, $", text, re.M)
    code, text = run_fathom("launch_server", env={"SGLANG_REQ_WAITING_TIMEOUT": "soon"})
    assert code == 2 and "SGLANG_REQ_WAITING_TIMEOUT" in text
