"""Golden checkpoints through the server: /generate logprobs and greedy continuations, on every target."""
import json

import pytest

from conftest import GOLDEN, Server, golden_differences, kernel_targets

CASES = ["v3-bf16", "v2-lite-bf16", "v2-group-bf16", "v3-fp8-block", "v3-int8-channel", "v3-int8-block", "v3-awq",
         "v3-gptq", "v3-nvfp4"]


@pytest.fixture(scope="module", params=[(c, t) for c in CASES for t in kernel_targets()], ids=lambda p: "-".join(p))
def case(request):
    name, target = request.param
    server = Server("--model-path", GOLDEN / name, "--skip-tokenizer-init", "--skip-server-warmup",
                    "--cpu-kernel-target", target)
    yield server, json.loads((GOLDEN / name / "expected.json").read_text())
    server.stop()


def test_prompt_logprobs(case):
    server, expected = case
    differences = sorted(golden_differences(server, expected))
    bound = expected["modes"]["weights"]["tolerances"]["bf16"]  # the KV cache is BF16
    assert sum(differences) / len(differences) <= bound["mean"]
    assert differences[len(differences) * 99 // 100] <= bound["p99"]
    assert differences[-1] <= bound["max"]


def test_greedy_continuation(case):
    server, expected = case
    for name, sequence in expected["sequences"].items():
        greedy = expected["modes"]["weights"]["sequences"][name]["greedy"]
        stable = greedy["stable_steps"]
        answer = server.generate(input_ids=sequence["input_ids"],
                                 sampling_params={"temperature": 0, "max_new_tokens": 16, "ignore_eos": True})
        assert answer["output_ids"][:stable] == greedy["ids"][:stable], name
        assert len(answer["output_ids"]) == 16


def test_float_activations_are_closer_to_the_weights():
    """--cpu-activation-dtype float32 leaves the error of the stored INT8 weights alone, which is none here."""
    path = GOLDEN / "v3-int8-channel"
    expected = json.loads((path / "expected.json").read_text())
    means = {}
    for dtype in ("auto", "float32"):
        server = Server("--model-path", path, "--skip-tokenizer-init", "--skip-server-warmup",
                        "--cpu-activation-dtype", dtype)
        differences = golden_differences(server, expected)
        means[dtype] = sum(differences) / len(differences)
        server.stop()
    assert means["float32"] < means["auto"] / 2, means
