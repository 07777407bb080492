"""Start-up with wrong flags and files: a message that says what to do, never a crash or a hang."""
import json
import shutil
import socket
import struct

import pytest

from conftest import DEMO, GOLDEN, run_fathom

CASE = GOLDEN / "v3-bf16"


def launch(*flags, **kwargs):
    code, text = run_fathom("launch_server", "--skip-server-warmup", *flags, **kwargs)
    assert "Traceback" not in text and code in (1, 2), (code, text)
    return code, text


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(CASE, folder)
    return folder


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("flags,code,words", [
    (["--prot", "1"], 2, ["unrecognized arguments: --prot", "did you mean --port"]),
    (["--port", "70000"], 2, ["--port", "65535"]),
    (["--port", "x"], 2, ["invalid int value", "'x'"]),
    (["--schedule-policy", "best"], 2, ["invalid choice", "lpm"]),
    (["--max-total-tokens", "5Q"], 2, ["Invalid integer value", "5Q"]),
    (["--page"], 2, ["expected one argument"]),
    (["--threads", "100000"], 2, ["--threads", "[0, 1024]"]),
    (["--model-checksum", "/nowhere"], 2, ["--model-checksum", "--model-path"]),
    (["--constrained-json-whitespace-pattern", "((("], 1, ["--constrained-json-whitespace-pattern '((('", "unclosed group"]),
    (["--disable"], 2, ["ambiguous option"]),
    (["--skip-server-warmup=1"], 2, ["ignored explicit argument"]),
    (["--tp", "2"], 1, ["one rank"]),
    (["--hicache-storage-backend", "file"], 1, ["not supported"]),
    (["--speculative-algorithm", "NEXTN"], 1, ["speculative"]),
    (["--chunked-prefill-size", "0"], 2, ["--chunked-prefill-size"]),
    (["--chunked-prefill-size", "100", "--page-size", "16"], 1, ["chunked_prefill_size must be divisible by page_size"]),
    (["--mem-fraction-static", "0.00001"], 1, ["Not enough memory", "--mem-fraction-static", "GiB"]),
    (["--cpu-kernel-target", "sve2"], 1, ["sve2", "scalar"]),
    (["--model-path", "/nowhere/at/all"], 1, ["/nowhere/at/all", "not found"]),
    (["--json-model-override-args", "{"], 2, ["not valid JSON"]),
])
def test_flags(flags, code, words):
    got, text = launch(*flags)
    assert got == code, text
    for word in words:
        assert word in text, text


def test_underscores_prefixes_and_human_numbers():
    code, text = run_fathom("launch_server", "--dry-run", "--max_total_token=2Ki", "--trust-remote", "--context-len", "1k")
    assert code == 0 and "2048 tokens" in text and "1000 tokens" in text, text


def test_port_in_use():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        code, text = launch("--port", port)
        assert code == 1 and f"Port {port} is already in use" in text, text


@pytest.mark.parametrize("change,words", [
    (lambda c: c.pop("hidden_size"), ["hidden_size", "missing"]),
    (lambda c: c.update(hidden_size="128"), ["hidden_size", "integer"]),
    (lambda c: c.update(num_hidden_layers=10**12), ["num_hidden_layers"]),
    (lambda c: c.update(n_routed_experts=-4), ["n_routed_experts"]),
    (lambda c: c.update(num_experts_per_tok=99), ["num_experts_per_tok"]),
    (lambda c: c.update(n_group=5), ["n_group"]),
    (lambda c: c.update(scoring_func="tanh"), ["scoring_func"]),
    (lambda c: c.update(architectures=["LlamaForCausalLM"]), ["LlamaForCausalLM", "Supported"]),
    (lambda c: c.update(rope_scaling={"type": "linear", "factor": 2}), ["rope_scaling"]),
    (lambda c: c.update(vocab_size=100), ["embed_tokens", "expected [100, 128]"]),
    (lambda c: c.update(num_hidden_layers=5), ["model.layers.4", "missing"]),
])
def test_config(checkpoint, change, words):
    edit(checkpoint / "config.json", change)
    code, text = launch("--model-path", checkpoint, "--skip-tokenizer-init")
    assert code == 1, text
    for word in words:
        assert word in text, text


def test_config_is_not_json(checkpoint):
    (checkpoint / "config.json").write_text("[" * 100000)
    assert "config.json" in launch("--model-path", checkpoint, "--skip-tokenizer-init")[1]


def header_of(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + length]), data[8 + length:]


def with_header(header, rest):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + rest


@pytest.mark.parametrize("damage,words", [
    (lambda d: b"", ["too short"]),
    (lambda d: d[:5], ["too short"]),
    (lambda d: struct.pack("<Q", 2**63) + d[8:], ["does not fit"]),
    (lambda d: struct.pack("<Q", 10**8) + d[8:], ["does not fit"]),
    (lambda d: d[:len(d) // 2], ["truncated"]),
    (lambda d: d[:8] + b"\xff" * 64 + d[72:], ["not JSON"]),
    (lambda d: struct.pack("<Q", 80000) + b"[" * 80000, ["JSON object"]),
])
def test_damaged_safetensors(checkpoint, damage, words):
    path = checkpoint / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    code, text = launch("--model-path", checkpoint, "--skip-tokenizer-init")
    assert code == 1 and "model.safetensors" in text, text
    for word in words:
        assert word in text, text


NORM = "model.norm.weight"


@pytest.mark.parametrize("change,words", [
    (lambda h: h[NORM].update(dtype="F7"), [NORM, "unknown dtype"]),
    (lambda h: h[NORM].update(shape=[2**62, 4]), [NORM, "overflows"]),
    (lambda h: h[NORM].update(shape=[-1]), [NORM, "shape"]),
    (lambda h: h[NORM].update(shape=[64]), [NORM, "needs 128 bytes"]),
    (lambda h: h[NORM].update(data_offsets=[0, 2**60]), [NORM, "data_offsets"]),
    (lambda h: h[NORM].update(data_offsets=[8, 4]), [NORM, "data_offsets"]),
    (lambda h: h[NORM].update(data_offsets="all"), [NORM, "data_offsets"]),
    (lambda h: h[NORM].update(data_offsets=h["model.embed_tokens.weight"]["data_offsets"][:1] +
                              [h["model.embed_tokens.weight"]["data_offsets"][0] + 256]), ["overlap"]),
    (lambda h: h.pop(NORM), [NORM, "missing"]),
    (lambda h: h.update({"x": 5}), ["tensor x"]),
])
def test_hostile_headers(checkpoint, change, words):
    path = checkpoint / "model.safetensors"
    header, rest = header_of(path.read_bytes())
    change(header)
    path.write_bytes(with_header(header, rest))
    code, text = launch("--model-path", checkpoint, "--skip-tokenizer-init")
    assert code == 1, text
    for word in words:
        assert word in text, text


def test_all_problems_at_once(checkpoint):
    path = checkpoint / "model.safetensors"
    header, rest = header_of(path.read_bytes())
    for name in list(header):
        if "layers.1.mlp.experts.3." in name:
            del header[name]
    header["lm_head.weight"]["shape"] = header["lm_head.weight"]["shape"][::-1]
    path.write_bytes(with_header(header, rest))
    _, text = launch("--model-path", checkpoint, "--skip-tokenizer-init")
    assert "4 problem(s)" in text and text.count("is missing") == 3 and "lm_head.weight: expected" in text, text


def test_missing_shard(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(GOLDEN / "v2-group-bf16", folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    _, text = launch("--model-path", folder, "--skip-tokenizer-init")
    assert "1 of 2 files" in text and "model-00002-of-00002.safetensors" in text, text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 5}', '{"version":"1.0","model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":["x y"]}}'])
def test_corrupt_tokenizer(tmp_path, content):
    folder = tmp_path / "tokenizer"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "tokenizer.json").write_text(content)
    code, text = launch("--tokenizer-path", folder)
    assert code == 1 and "tokenizer.json" in text, text
