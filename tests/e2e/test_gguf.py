"""GGUF files written by the `gguf` package: served like the folder they were made from, or refused precisely."""
import json

import gguf
import numpy
import pytest
from safetensors.numpy import save_file

from conftest import DEMO, GOLDEN, ROOT, Server, golden_differences, run_fathom
from gguf_writer import Type, encode, read_tensors, write_gguf

# Without numbers of several digits, which the demo's tokenizer cuts in another way than DeepSeek-V3's.
PROMPTS = ["Question: A farmer has 9 apples and buys 7 more. How many apples are there?\nAnswer:",
           "The capital of France is", "def add(a, b):\n    return a", "2 + 3 =", "日本語 と 中文, naïve…"]
GREEDY = {"temperature": 0, "max_new_tokens": 24}
def answers(server):
    return [server.generate(text=prompt, sampling_params=GREEDY)["text"] for prompt in PROMPTS]


def prompt_logprobs(server):
    values = []
    for prompt in PROMPTS:
        answer = server.generate(text=prompt, return_logprob=True, logprob_start_len=0,
                                 sampling_params={"temperature": 0, "max_new_tokens": 1})
        values += [entry[0] for entry in answer["meta_info"]["input_token_logprobs"][1:]]
    return numpy.array(values)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gguf")


def serve(path, *flags):
    return Server("--model-path", path, "--max-total-tokens", 4096, "--skip-server-warmup", *flags)


@pytest.mark.parametrize("kind", [Type.BF16, Type.F16, Type.F32], ids=lambda kind: kind.name)
def test_lossless_types_give_the_same_text(demo, folder, kind):
    server = serve(write_gguf(DEMO, folder / f"{kind.name}.gguf", kind))
    try:
        assert answers(server) == answers(demo)
        chat = {"messages": [{"role": "user", "content": "What is 3 + 4?"}], "temperature": 0, "max_tokens": 16}
        mine, theirs = (s.post("/v1/chat/completions", chat) for s in (server, demo))
        assert mine["choices"][0]["message"] == theirs["choices"][0]["message"]
        assert mine["usage"]["prompt_tokens"] == theirs["usage"]["prompt_tokens"]
    finally:
        server.stop()


def test_split_file_with_split_kv_b(demo, folder):
    """As newer converters write them: attn_k_b and attn_v_b, several files, any of which may be named."""
    parts = folder / "parts"
    parts.mkdir()
    first = write_gguf(DEMO, parts / "demo.gguf", Type.BF16, split_kv_b=True, parts=3)
    for path in (first.with_name("demo-00002-of-00003.gguf"), parts):
        server = serve(path)
        try:
            assert answers(server) == answers(demo)
        finally:
            server.stop()
    first.with_name("demo-00003-of-00003.gguf").rename(folder / "elsewhere")
    code, text = run_fathom("launch_server", "--model-path", parts, "--dry-run")
    assert code == 1 and "1 of the 3 parts" in text and "demo-00003-of-00003.gguf" in text


def test_a_tokenizer_beside_the_file_is_preferred(demo, folder):
    beside = folder / "beside"
    beside.mkdir()
    write_gguf(DEMO, beside / "demo.gguf", Type.BF16, tokenizer=False)
    code, text = run_fathom("launch_server", "--model-path", beside / "demo.gguf", "--port", 0)
    assert code == 1 and "tokenizer.ggml.model is '(absent)'" in text
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (beside / name).write_bytes((DEMO / name).read_bytes())
    server = serve(beside)
    try:
        assert answers(server) == answers(demo)
    finally:
        server.stop()


def dequantised_folder(kind, out):
    """The demo model with the numbers that `kind` keeps, by the package's own dequantisers."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (out / name).write_bytes((DEMO / name).read_bytes())
    config = json.loads((DEMO / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"num_nextn_predict_layers": 0}))
    block = gguf.GGML_QUANT_SIZES[kind][0]
    tensors = {}
    for name, values in read_tensors(DEMO).items():
        if values.ndim == 2 and values.shape[1] % block == 0 and "mlp.gate.weight" not in name:
            values = gguf.quants.dequantize(encode(values, kind), kind)
        tensors[name] = values
    save_file(tensors, out / "model.safetensors")
    return out


@pytest.mark.parametrize("kind", [Type.Q8_0, Type.Q6_K, Type.Q4_K, Type.Q4_0], ids=lambda kind: kind.name)
def test_quantised_types_are_close(demo, folder, kind, tmp_path):
    """To the same numbers in FP32 up to the rounding of activations, and to the original model roughly."""
    # In integer products activations are quantised too; FP32 ones leave only what the reader made of the file.
    server = serve(write_gguf(DEMO, folder / f"{kind.name}.gguf", kind), "--cpu-activation-dtype", "float32")
    reference = serve(dequantised_folder(kind, tmp_path), "--cpu-activation-dtype", "float32")
    try:
        mine, same, original = (prompt_logprobs(s) for s in (server, reference, demo))
        assert numpy.abs(mine - same).mean() < 0.03
        assert 0 < numpy.abs(mine - original).mean() < 1
    finally:
        server.stop()
        reference.stop()


@pytest.mark.parametrize("name", ["v3-bf16", "v2-lite-bf16", "v2-group-bf16"])
def test_golden_models(folder, name):
    """Metadata to config: gating, groups, YaRN's scale, leading dense layers."""
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    path = write_gguf(GOLDEN / name, folder / f"{name}.gguf", Type.BF16, tokenizer=False)
    server = serve(path, "--skip-tokenizer-init")
    mode = expected["modes"]["weights"]
    try:
        differences = golden_differences(server, expected)
    finally:
        server.stop()
    assert numpy.mean(differences) <= mode["tolerances"]["bf16"]["mean"]
    assert max(differences) <= mode["tolerances"]["bf16"]["max"]


def test_tokenizers(folder, launch):
    """DeepSeek-V3's own from tokens and merges alone, and every other pre-tokenizer that is known."""
    own = ROOT / "build" / "test-tokenizer"
    model = folder / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_bytes((DEMO / name).read_bytes())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).write_bytes((own / name).read_bytes())
    server = serve(write_gguf(model, folder / "tokens.gguf", Type.BF16))
    try:
        for case in json.loads((GOLDEN.parent / "tokenizer" / "encode.json").read_text()):
            answer = server.post("/tokenize", {"prompt": case["text"], "add_special_tokens": False})
            assert answer["tokens"] == case["ids"], case["text"]
    finally:
        server.stop()
    for pre in ("deepseek-llm", "deepseek-coder", "gpt-2"):
        server = serve(write_gguf(DEMO, folder / f"{pre}.gguf", Type.BF16, pre=pre))
        try:
            for text in PROMPTS:
                tokens = server.post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
                assert server.post("/detokenize", {"tokens": tokens})["text"] == text
        finally:
            server.stop()
    code, text = run_fathom("launch_server", "--port", 0, "--log-level", "error", "--model-path",
                            write_gguf(DEMO, folder / "pre.gguf", Type.BF16, pre="viking"))
    assert code == 1 and "tokenizer.ggml.pre is 'viking'; Fathom knows deepseek-v3" in text


def test_what_cannot_be_read_is_named(folder):
    path = write_gguf(DEMO, folder / "whole.gguf", Type.Q8_0)
    data = path.read_bytes()

    def refusal(content):
        bad = folder / "bad.gguf"
        bad.write_bytes(content)
        code, text = run_fathom("launch_server", "--model-path", bad, "--port", 0, "--log-level", "error")
        assert code == 1, text
        return text

    assert "outside the" in refusal(data[:-1000]) and "truncated or damaged" in refusal(data[:-1000])
    assert "the file ends inside it" in refusal(data[:data.index(b"blk.3.ffn_norm") + 9])
    assert "is not a GGUF file" in refusal(b"GGML" + data[4:])
    assert "GGUF version 9" in refusal(data[:4] + b"\x09\0\0\0" + data[8:])
    assert "Fathom serves GGUF files of architecture 'deepseek2'" in refusal(data.replace(b"deepseek2", b"deepseek9"))
    key = b"deepseek2.embedding_length"
    assert key.decode() in refusal(data.replace(key, b"deepseek2.embedding_lengtX"))
    iq2 = gguf.GGUFWriter(folder / "iq2.gguf", "deepseek2")
    iq2.add_tensor("token_embd.weight", numpy.zeros((8, 66), "u1"), raw_dtype=Type.IQ2_XXS)
    iq2.write_header_to_file()
    iq2.write_kv_data_to_file()
    iq2.write_tensors_to_file()
    iq2.close()
    assert "needed is missing: deepseek2.embedding_length, deepseek2.block_count" in refusal(
        (folder / "iq2.gguf").read_bytes())
