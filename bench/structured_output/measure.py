#!/usr/bin/env python3
"""What masks cost the steps of a server: model M with DeepSeek-V3's vocabulary of 129,280 tokens and random weights.

    bench/structured_output/measure.py [--fathom build/fathom] [--tokenizer build/test-tokenizer] [--batch 1 8]

Sequences follow a JSON schema at temperature 1 while a profile is recorded. "masks" is the part of a step in which
the engine waits for masks because the model was done first; what the mask thread did until then costs nothing unless
the cores are busy. What one mask takes by itself is printed by build/src/grammar/grammar_test
--gtest_filter='*CostOfMasks*'. Standard library only.
"""
import argparse
import collections
import concurrent.futures
import gzip
import json
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from server import Server  # noqa: E402

VOCABULARY = 129280
SCHEMA = {"type": "object", "properties": {
    "name": {"type": "string"}, "mail": {"type": "string", "format": "email"}, "born": {"type": "string", "format": "date-time"},
    "tags": {"type": "array", "items": {"type": "string", "maxLength": 40}, "minItems": 3},
    "notes": {"type": "array", "items": {"type": "object", "properties": {"at": {"type": "number"}, "text": {"type": "string"}},
                                         "required": ["at", "text"]}}},
    "required": ["name", "mail", "born", "tags", "notes"]}


def generate(server, seed, tokens, **params):
    return server.post_json("/generate", {"text": "A person as JSON:", "sampling_params": {
        "temperature": 1, "sampling_seed": seed, "max_new_tokens": tokens, **params}})


def profiled(server, folder, batch, tokens, **params):
    """Seconds of each phase of each decode step."""
    generate(server, 0, 4, **params)  # compiled now
    server.post("/start_profile", {"output_dir": str(folder), "profile_id": f"batch-{batch}"})
    with concurrent.futures.ThreadPoolExecutor(batch) as pool:
        list(pool.map(lambda seed: generate(server, seed, tokens, **params), range(batch)))
    server.post("/stop_profile", {})
    trace = json.loads(gzip.open(next(folder.glob(f"batch-{batch}-*"))).read())
    steps = collections.defaultdict(dict)
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            step = steps[event["args"]["step"]]
            step[event["name"]] = step.get(event["name"], 0) + event["dur"] / 1e6
            step["prompt_rows"] = step.get("prompt_rows", 0) + event["args"]["prompt_rows"]
    return [step for step in steps.values() if "forward" in step and not step["prompt_rows"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fathom", type=pathlib.Path, default=ROOT / "build" / "fathom")
    parser.add_argument("--tokenizer", type=pathlib.Path, default=ROOT / "build" / "test-tokenizer")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        config = json.loads((ROOT / "bench" / "models" / "m" / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "vocab_size": VOCABULARY}))
        with Server(options.fathom, folder, "--load-format", "dummy", "--tokenizer-path", options.tokenizer) as server:
            print("| sequences | steps | step, median | waiting for masks, median | p99 | share of the steps |")
            print("|---|---|---|---|---|---|")
            for batch in options.batch:
                steps = profiled(server, folder, batch, options.tokens, json_schema=json.dumps(SCHEMA))
                whole = sorted(sum(step.get(phase, 0) for phase in ("schedule", "forward", "masks", "sample", "commit")) for step in steps)
                waits = sorted(step.get("masks", 0) for step in steps)
                at = lambda values, share: values[int(share * (len(values) - 1))] * 1e3
                print(f"| {batch} | {len(steps)} | {at(whole, .5):.1f} ms | {at(waits, .5):.3f} ms | {at(waits, .99):.3f} ms | "
                      f"{100 * sum(waits) / sum(whole):.2f} % |")


if __name__ == "__main__":
    main()
