"""`fathom convert` and `fathom inspect`: every format from the golden and demo models, loaded and compared;
numbers checked with numpy alone; interrupted, damaged and refused conversions."""
import json
import os
import resource
import shutil
import subprocess

import gguf
import numpy
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from conftest import DEMO, FATHOM, GOLDEN, STUCK, Server, golden_differences, run_fathom
from gguf_writer import Type, encode, read_tensors, write_gguf

FORMATS = {"bf16": [], "fp8": ["fp8"], "fp8-ue8m0": ["fp8", "--scale-fmt", "ue8m0"], "int8": ["int8"],
           "int8-block": ["int8-block"], "int4": ["int4", "--group-size", 64], "nvfp4": ["nvfp4"]}


LAYERS = json.loads((GOLDEN / "v3-bf16" / "config.json").read_text())["num_hidden_layers"]
MTP = f"model.layers.{LAYERS}."  # of the golden BF16 model


def convert(source, out, to, *flags, code=0):
    got, text = run_fathom("convert", source, out, "--to", to, *flags)
    assert got == code, text
    return text


def raw_tensors(folder):
    """Name -> (dtype, shape, bytes) of all files of a checkpoint."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        if not path.name.startswith("model"):
            continue
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8:8 + size]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                tensors[name] = (entry["dtype"], entry["shape"], raw[8 + size + begin:8 + size + end])
    return tensors


def e4m3_table():
    codes = numpy.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    values = numpy.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0**(exponent.astype(float) - 10))
    values[[0x7f, 0xff]] = numpy.nan
    return numpy.where(codes & 128, -values, values).astype("f4")


def to_bf16(values):
    """Rounds to nearest, ties to even; as 16-bit words."""
    bits = numpy.ascontiguousarray(values, "f4").view("u4").astype("u8")
    return ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16).astype("u2")


def block_scales(raw, shape):
    scale = numpy.frombuffer(raw[2], "f4").reshape(raw[1])
    return scale.repeat(128, 0)[:shape[0]].repeat(128, 1)[:, :shape[1]]


def prompt_differences(folder, name, *flags):
    """Absolute differences of prompt log probabilities from a golden model's."""
    expected = json.loads((GOLDEN / name / "expected.json").read_text())
    server = Server("--model-path", folder, "--skip-tokenizer-init", "--skip-server-warmup", "--max-total-tokens", 4096,
                    *flags)
    mode = expected["modes"]["weights"]
    try:
        differences = golden_differences(server, expected)
    finally:
        server.stop()
    return numpy.array(differences), mode["tolerances"]["bf16"]


def test_fp8_becomes_bf16_bit_for_bit(tmp_path):
    source = GOLDEN / "v3-fp8-block"
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    convert(source, tmp_path / "out", "bf16", "--shard-size", "200Ki")
    old, new = raw_tensors(source), raw_tensors(tmp_path / "out")
    table = e4m3_table()
    assert sorted(new) == sorted(name for name in old if not name.endswith("_scale_inv"))
    for name, (dtype, shape, data) in old.items():
        if name.endswith("_scale_inv"):
            continue
        assert new[name][1] == shape
        if dtype == "F8_E4M3":
            codes = table[numpy.frombuffer(data, "u1").reshape(shape)]
            data = to_bf16(codes * block_scales(old[name + "_scale_inv"], shape)).tobytes()
            assert new[name][0] == "BF16"
        assert new[name][2] == data, name
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config and config["torch_dtype"] == "bfloat16"
    assert config["kv_lora_rank"] == json.loads(before["config.json"])["kv_lora_rank"]
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(new)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    differences, bound = prompt_differences(tmp_path / "out", "v3-fp8-block")
    assert differences.mean() <= bound["mean"] and differences.max() <= bound["max"]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The golden BF16 model in every format."""
    folder = tmp_path_factory.mktemp("formats")
    for name, flags in FORMATS.items():
        convert(GOLDEN / "v3-bf16", folder / name, *(flags or ["bf16"]))
    return folder


def nibbles(words):
    return (words[..., None] >> (4 * numpy.array([0, 4, 1, 5, 2, 6, 3, 7], "u4"))) & 15


def dequantised(tensors, prefix):
    """The matrix that a layer's tensors stand for, computed from the format's definition."""
    get = lambda part, kind: numpy.frombuffer(tensors[f"{prefix}.{part}"][2], kind).reshape(tensors[f"{prefix}.{part}"][1])
    if prefix + ".qweight" in tensors:
        codes = nibbles(get("qweight", "u4")).reshape(-1, get("scales", "f2").shape[1]).astype("f4")
        group = codes.shape[0] // get("scales", "f2").shape[0]
        zeros = nibbles(get("qzeros", "u4")).reshape(-1, codes.shape[1]).astype("f4")
        return ((codes - zeros.repeat(group, 0)) * get("scales", "f2").astype("f4").repeat(group, 0)).T
    dtype, shape, _ = tensors[prefix + ".weight"]
    if dtype == "BF16":
        return (get("weight", "u2").astype("u4") << 16).view("f4")
    if dtype == "U8":
        magnitude = numpy.array([0, .5, 1, 1.5, 2, 3, 4, 6], "f4")
        codes = numpy.stack([get("weight", "u1") & 15, get("weight", "u1") >> 4], axis=2).reshape(shape[0], -1)
        values = numpy.where(codes & 8, -1, 1) * magnitude[codes & 7]
        scale = e4m3_table()[get("weight_scale", "u1")].repeat(16, 1)
        return values * scale * numpy.frombuffer(tensors[prefix + ".weight_scale_2"][2], "f4")
    codes = e4m3_table()[get("weight", "u1")] if dtype == "F8_E4M3" else get("weight", "i1").astype("f4")
    if prefix + ".weight_scale" in tensors:
        return codes * get("weight_scale", "f4")
    return codes * block_scales(tensors[prefix + ".weight_scale_inv"], shape)


# Root mean square error of a matrix relative to its own, at most; what each format can hold.
PRECISION = {"bf16": 0, "fp8": 0.03, "fp8-ue8m0": 0.03, "int8": 0.012, "int8-block": 0.012, "int4": 0.11, "nvfp4": 0.12}


@pytest.mark.parametrize("name", FORMATS)
def test_numbers_are_near_the_original(converted, name):
    old, new = raw_tensors(GOLDEN / "v3-bf16"), raw_tensors(converted / name)
    quantised = 0
    for weight in (n for n in old if n.endswith("_proj.weight") or n.endswith("_with_mqa.weight")):
        prefix = weight.removesuffix(".weight")
        want, got = dequantised(old, prefix), dequantised(new, prefix)
        assert got.shape == want.shape
        error = numpy.sqrt(((got - want) ** 2).mean() / (want**2).mean())
        assert error <= PRECISION[name], weight
        quantised += error > 0
    assert (quantised > 20) == (name != "bf16")
    for other in ("model.embed_tokens.weight", "lm_head.weight", "model.layers.1.mlp.gate.weight", "model.norm.weight",
                  f"{MTP}eh_proj.weight"):
        assert new[other] == old[other]
    if name == "fp8-ue8m0":
        scales = [numpy.frombuffer(new[n][2], "f4") for n in new if n.endswith("_scale_inv")]
        assert all((numpy.frexp(s)[0] == 0.5).all() for s in scales)


LOADS = {"bf16": 0.06, "fp8": 0.35, "fp8-ue8m0": 0.35, "int8": 0.2, "int8-block": 0.2, "int4": 1.2, "nvfp4": 1.2}


@pytest.mark.parametrize("name", FORMATS)
def test_output_loads(converted, name):
    """Mean differences of log probabilities: a wrong layout or scale gives 2 and more."""
    differences, _ = prompt_differences(converted / name, "v3-bf16")
    assert differences.mean() <= LOADS[name]


def test_names_in_config(converted):
    read = lambda name: json.loads((converted / name / "config.json").read_text()).get("quantization_config")
    assert read("bf16") is None
    assert read("fp8") == {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
    assert read("fp8-ue8m0")["scale_fmt"] == "ue8m0"
    assert read("int8")["quant_method"] == "compressed-tensors" and read("int8")["format"] == "int-quantized"
    assert read("int8-block")["quant_method"] == "blockwise_int8"
    awq = read("int4")
    assert (awq["quant_method"], awq["bits"], awq["group_size"], awq["version"]) == ("awq", 4, 64, "gemm")
    modelopt = json.loads((converted / "nvfp4" / "hf_quant_config.json").read_text())
    assert modelopt["quantization"]["quant_algo"] == "NVFP4"
    assert "model.layers.0.self_attn.o_proj" in modelopt["quantization"]["exclude_modules"]
    fp4 = raw_tensors(converted / "nvfp4")
    gate, up = (fp4[f"model.layers.0.mlp.{name}_proj.weight_scale_2"][2] for name in ("gate", "up"))
    assert gate == up


def kill_in_the_middle(source, out, *flags):
    """A conversion that dies while it writes its first large file (the kernel's file size limit)."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, 700_000))
    run = subprocess.run([FATHOM, "convert", source, out, *flags], preexec_fn=limit, capture_output=True)
    assert run.returncode != 0
    assert not (out / "config.json").exists()


def test_interrupted_conversion(tmp_path):
    flags = ["--to", "bf16", "--shard-size", "500Ki"]
    kill_in_the_middle(DEMO, tmp_path / "out", *flags)
    whole = [path for path in (tmp_path / "out").iterdir() if path.suffix == ".safetensors"]
    assert whole, "no shard was complete yet"
    code, text = run_fathom("launch_server", "--model-path", tmp_path / "out", "--port", 0, "--log-level", "error")
    assert code == 1 and "holds an unfinished conversion" in text and "fathom convert" in text
    code, text = run_fathom("inspect", tmp_path / "out")
    assert code == 1 and "holds an unfinished conversion" in text
    assert "other options" in convert(DEMO, tmp_path / "out", "fp8", code=1)

    times = {path.name: path.stat().st_mtime_ns for path in whole}
    text = convert(DEMO, tmp_path / "out", *flags[1:])
    assert "of them from before" in text
    assert all((tmp_path / "out" / name).stat().st_mtime_ns == time for name, time in times.items())
    assert not [path for path in (tmp_path / "out").iterdir() if "unfinished" in path.name]
    assert raw_tensors(tmp_path / "out") == raw_tensors(DEMO)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (DEMO / name).read_bytes()
    assert "exists and is not empty" in convert(DEMO, tmp_path / "out", "bf16", code=1)


def test_files_are_what_other_programs_read(converted):
    """The safetensors package opens every shard."""
    for path in converted.glob("*/model*.safetensors"):
        with safe_open(path, "numpy") as file:
            assert list(file.keys())


def test_draft_model(tmp_path):
    code, text = run_fathom("convert", DEMO, tmp_path / "draft", "--extract-mtp")
    assert code == 0, text
    config = json.loads((tmp_path / "draft" / "config.json").read_text())
    assert config["architectures"] == ["DeepseekV3ForCausalLMNextN"] and config["num_hidden_layers"] == 1
    old, new = raw_tensors(DEMO), raw_tensors(tmp_path / "draft")
    layer = json.loads((DEMO / "config.json").read_text())["num_hidden_layers"]
    assert new == {name.replace(f"layers.{layer}.", "layers.0."): value for name, value in old.items()
                   if name.startswith(f"model.layers.{layer}.")}
    code, text = run_fathom("convert", GOLDEN / "v2-lite-bf16", tmp_path / "none", "--extract-mtp")
    assert code == 1 and "nothing to extract" in text


BLOCK_TYPES = [Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K,
               Type.Q6_K, Type.IQ4_NL, Type.IQ4_XS]


@pytest.mark.parametrize("kind", BLOCK_TYPES, ids=lambda kind: kind.name)
def test_gguf_blocks_unpack_exactly(tmp_path, kind):
    """Random bytes as blocks: every code, scale and corner of a type, against the package's own dequantiser."""
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    random = numpy.random.default_rng(kind.value)

    def random_blocks(shape):
        blocks = random.integers(0, 256, (*shape[:-1], shape[-1] // elements, size), "u1")
        for at in half_floats(kind, size):  # scales must be finite
            value = random.normal(0, 0.02, blocks.shape[:-1]).astype("<f2")
            blocks[..., at:at + 2] = value[..., None].view("u1")
        return blocks.reshape(*shape[:-1], -1)

    made = {}

    def fake_encode(name, values, type):
        if type != kind:
            return encode(values, type)
        made[name] = random_blocks(values.shape)
        return made[name]

    path = write_gguf(DEMO, tmp_path / "random.gguf", kind, encoder=fake_encode)
    convert(path, tmp_path / "out", "bf16")
    new = raw_tensors(tmp_path / "out")
    checked = 0
    for name, hf in (("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj"), ("token_embd.weight", "model.embed_tokens"),
                     ("blk.1.attn_output.weight", "model.layers.1.self_attn.o_proj")):
        want = gguf.quants.dequantize(made[name], kind)
        got = (numpy.frombuffer(new[hf + ".weight"][2], "u2").astype("u4") << 16).view("f4").reshape(want.shape)
        same = got == (to_bf16(want).astype("u4") << 16).view("f4").reshape(want.shape)
        # Offsets become zero points where codes have 4 bits: the last bit of a float, seldom another BF16.
        assert same.all() or (kind in (Type.Q4_1, Type.Q4_K) and same.mean() > 0.99)
        assert numpy.allclose(got, want, rtol=2**-8, atol=numpy.abs(want).max() * 1e-6)
        checked += want.size
    assert checked > 100_000


def half_floats(kind, size):
    """Offsets of FP16 numbers in a block."""
    return {Type.Q4_1: [0, 2], Type.Q5_1: [0, 2], Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2],
            Type.Q5_K: [0, 2], Type.Q6_K: [208]}.get(kind, [0])


def scaled_demo(folder):
    """The demo model with some channels of its norms 16 times as large and the weights behind as much smaller: the
    same function, and the case that activation-aware scaling is for."""
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((DEMO / name).read_bytes())
    tensors = read_tensors(DEMO)
    for name, values in tensors.items():
        part = name.split(".", 3)[-1]
        if part in ("input_layernorm.weight", "post_attention_layernorm.weight"):
            values[::16] *= 16
        elif part.endswith(("q_a_proj.weight", "kv_a_proj_with_mqa.weight", "gate_proj.weight", "up_proj.weight", "mlp.gate.weight")):
            values[:, ::16] /= 16
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_calibrated_int4(tmp_path, demo):
    """Scales learnt from a text bring int4 nearer to the original than none, where channels differ."""
    source = tmp_path / "scaled"
    source.mkdir()
    scaled_demo(source)
    examples = [json.loads(line) for line in (DEMO.parent / "test.jsonl").read_text().splitlines()[:120]]
    text = "\n\n".join(f"Question: {e['question']}\nAnswer: {e['answer']}" for e in examples)
    (tmp_path / "text.txt").write_text(text)
    prompts = [f"Question: {e['question']}\nAnswer: {e['answer']}"
               for e in map(json.loads, (DEMO.parent / "test.jsonl").read_text().splitlines()[300:312])]

    def logprobs(server):
        values = []
        for prompt in prompts:
            answer = server.generate(text=prompt, return_logprob=True, logprob_start_len=0,
                                     sampling_params={"temperature": 0, "max_new_tokens": 1})
            values += [entry[0] for entry in answer["meta_info"]["input_token_logprobs"][1:]]
        return numpy.array(values)

    want = logprobs(demo)
    errors = {}
    for name, flags in (("plain", []), ("calibrated", ["--calibration", tmp_path / "text.txt"])):
        convert(source, tmp_path / name, "int4", "--group-size", 64, *flags)
        server = Server("--model-path", tmp_path / name, "--max-total-tokens", 4096, "--skip-server-warmup")
        errors[name] = numpy.abs(logprobs(server) - want).mean()
        server.stop()
    print(errors)
    assert errors["calibrated"] < 0.8 * errors["plain"]
    short = tmp_path / "short.txt"
    short.write_text("too short")
    assert "too few to learn from" in convert(source, tmp_path / "x", "int4", "--calibration", short, code=1)
    assert "is for --to int4" in convert(source, tmp_path / "y", "fp8", "--calibration", short, code=1)


def test_options_are_checked(tmp_path):
    assert "is where the source is" in convert(DEMO, DEMO, "bf16", code=1)
    assert "'fp3' is none" in convert(DEMO, tmp_path / "x", "fp3", code=2)
    code, text = run_fathom("convert", DEMO, "--to", "bf16")
    assert code == 2 and "expected <in> and <out>" in text
    code, text = run_fathom("convert", "--to", "bf16", DEMO, tmp_path / "x")
    assert code == 2 and "expected <in> and <out> before the options" in text
    assert "--group-size: is for --to int4" in convert(DEMO, tmp_path / "x", "fp8", "--group-size", 64, code=2)
    assert "--scale-fmt: is for --to fp8" in convert(DEMO, tmp_path / "x", "int8", "--scale-fmt", "ue8m0", code=2)
    assert "--shard-size: must be" in convert(DEMO, tmp_path / "x", "bf16", "--shard-size", 0, code=2)
    assert "--threads: must be in" in convert(DEMO, tmp_path / "x", "bf16", "--threads", 100_000, code=2)
    code, text = run_fathom("convert", tmp_path / "nowhere", tmp_path / "x", "--to", "bf16")
    assert code == 1 and "nowhere does not exist" in text
    code, text = run_fathom("convert", "--help")
    assert code == 0 and "nvfp4" in text and "--group-size" in text


@pytest.mark.skipif("FATHOM_TEST_PATIENCE" in os.environ, reason="sanitizers map more than the limit")
def test_threads_that_cannot_be_started(tmp_path):
    run = subprocess.run(["bash", "-c", 'ulimit -s 8192 -v 4000000; exec "$@"', "-", FATHOM, "convert", DEMO, tmp_path / "out",
                          "--to", "bf16", "--threads", "1000"], capture_output=True, text=True, timeout=STUCK)
    assert run.returncode == 1 and "threads could be started" in run.stderr, run.stderr


def test_inspect(converted, tmp_path):
    code, text = run_fathom("inspect", converted / "fp8", "--json")
    facts = json.loads(text)
    assert code == 1 and facts["architecture"] == "DeepseekV3ForCausalLM"
    assert len(facts["problems"]) == 1 and "tokenizer.json" in facts["problems"][0]  # golden models have none
    tensors = {name: value for name, value in raw_tensors(converted / "fp8").items() if not name.startswith(MTP)}
    assert facts["bytes"] == sum(len(value[2]) for value in tensors.values())
    parts = {part["name"]: part for part in facts["parts"]}
    assert parts["routed experts"]["formats"].keys() == {"fp8"} and parts["head"]["formats"].keys() == {"BF16"}
    share = facts["experts_per_token"] / facts["experts"]
    assert parts["routed experts"]["bytes_per_token"] == round(share * parts["routed experts"]["bytes"])
    assert facts["active_parameters"] < facts["parameters"]
    code, text = run_fathom("inspect", DEMO)
    assert code == 0 and "no problems found" in text and "routed experts" in text
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((DEMO / name).read_bytes())
    header = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(header.replace(b"model.layers.1.self_attn.o_proj", b"model.layers.1.self_attn.X_proj", 1))
    code, text = run_fathom("inspect", tmp_path, "--json")
    problems = json.loads(text)["problems"]
    assert code == 1 and len(problems) == 2
    assert any("tokenizer.json" in p for p in problems) and any("model.layers.1.self_attn.o_proj" in p for p in problems)


@pytest.mark.parametrize("to", ["int8", "fp8", "int4", "nvfp4"])
def test_a_weight_that_is_nan(tmp_path, to):
    path = shutil.copytree(GOLDEN / "v3-bf16", tmp_path / "model") / "model.safetensors"
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    name = "model.layers.0.self_attn.o_proj.weight"
    at = 8 + length + json.loads(data[8:8 + length])[name]["data_offsets"][0]
    data[at:at + 2] = b"\xc0\x7f"
    path.write_bytes(data)
    assert f"{name}: holds NaN" in convert(path.parent, tmp_path / "out", to, code=1)
