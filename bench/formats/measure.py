#!/usr/bin/env python3
"""Every weight format side by side: size, accuracy and divergence on the demo model, speed on model M.

    bench/formats/measure.py [--fathom build/fathom] [--quick] [--json OUT] [--write docs/formats.md]

The demo model is converted with `fathom convert`, served, and answers the held-out word problems greedily.
Divergence is the mean KL of the next-token distributions (64 likeliest tokens and the rest as one) from the BF16
model's, over the positions of its own answers. Speed is bench_one_batch on random weights of bench/models/m,
each format's run next to one in BF16. Standard library only.
"""
import argparse
import concurrent.futures
import json
import math
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from server import Server  # noqa: E402
DEMO = ROOT / "demo"
MODEL_M = ROOT / "bench" / "models" / "m"
TOP = 64

# name, `convert --to` arguments (None: as delivered), server flags, flags of the same format for random weights
FORMATS = [
    ("BF16", None, [], []),
    ("FP8 block", ["fp8"], [], ["--quantization", "fp8"]),
    ("INT8 channel", ["int8"], ["--quantization", "w8a8_int8"], ["--quantization", "w8a8_int8"]),
    ("INT8 block", ["int8-block"], [], ["--quantization", "blockwise_int8"]),
    ("INT4 group 128 (AWQ)", ["int4", "--group-size", "128"], [], ["--quantization", "awq"]),
    ("INT4 group 64 (AWQ)", ["int4", "--group-size", "64"], [], ["--torchao-config", "int4wo-64"]),
    ("NVFP4", ["nvfp4"], [], ["--quantization", "modelopt_fp4"]),
]


def number(text):
    found = re.findall(r"####\s*(-?\d+)", text)
    return found[-1] if found else None


def in_parallel(function, items, at_once=32):
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(function, items))


def accuracy(server, problems):
    def right(problem):
        answer = server.post_json("/v1/chat/completions", {
            "model": "demo", "temperature": 0, "max_tokens": 160,
            "messages": [{"role": "user", "content": problem["question"]}]})
        return number(answer["choices"][0]["message"]["content"]) == number(problem["answer"])
    return statistics.mean(in_parallel(right, problems))


def answers(server, problems):
    """Token ids of prompt and greedy answer: the texts over which models are compared."""
    def ids(problem):
        text = f"<｜begin▁of▁sentence｜><｜User｜>{problem['question']}<｜Assistant｜><think>\n"
        prompt = server.post_json("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
        out = server.post_json("/generate", {"input_ids": prompt,
                                        "sampling_params": {"temperature": 0, "max_new_tokens": 100}})
        return prompt + out["output_ids"], len(prompt)
    return in_parallel(ids, problems)


def distributions(server, texts):
    """Per text and answer position: {token: log probability} of the likeliest tokens."""
    def tops(text):
        ids, start = text
        out = server.post_json("/generate", {"input_ids": ids, "return_logprob": True, "logprob_start_len": start,
                                        "top_logprobs_num": TOP,
                                        "sampling_params": {"temperature": 0, "max_new_tokens": 1}})
        return [{t: p for p, t, _ in tops} for tops in out["meta_info"]["input_top_logprobs"] if tops]
    return in_parallel(tops, texts, 4)


def divergence(reference, other):
    """Mean KL(reference || other); tokens beyond either list of likeliest ones are one event."""
    total, count = 0.0, 0
    for text, text2 in zip(reference, other, strict=True):
        for p, q in zip(text, text2, strict=True):
            shared = p.keys() & q.keys()
            kl = sum(math.exp(p[t]) * (p[t] - q[t]) for t in shared)
            rest_p = max(1 - sum(math.exp(p[t]) for t in shared), 1e-9)
            rest_q = max(1 - sum(math.exp(q[t]) for t in shared), 1e-9)
            total += max(kl + rest_p * math.log(rest_p / rest_q), 0)
            count += 1
    return total / count


def one_batch(fathom, flags, results, quick):
    subprocess.run([fathom, "bench_one_batch", "--model-path", MODEL_M, "--load-format", "dummy",
                    "--skip-tokenizer-init", "--log-level", "error", "--input-len", "128" if quick else "512",
                    "--output-len", "8" if quick else "24", "--repetitions", "1" if quick else "3",
                    "--result-filename", results, *flags], check=True, stdout=subprocess.DEVNULL)
    return json.loads(pathlib.Path(results).read_text().splitlines()[-1])


def speeds(fathom, flags, folder, quick):
    """Medians of decode and prefill relative to BF16, the two run in turn; share of the bandwidth."""
    decode, prefill, share = [], [], []
    for _ in range(1 if quick else 3):
        base = one_batch(fathom, [], folder / "speed.jsonl", quick)
        own = one_batch(fathom, flags, folder / "speed.jsonl", quick)
        decode.append(own["median_decode_throughput"] / base["median_decode_throughput"])
        prefill.append(own["prefill_throughput"] / base["prefill_throughput"])
        share.append(own["weights_read_per_second"] / own["machine_read_per_second"])
    return statistics.median(decode), statistics.median(prefill), statistics.median(share)


def weight_bytes(folder):
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def measure(args):
    problems = [json.loads(line) for line in open(DEMO / "test.jsonl")][:60 if args.quick else 600]
    rows, texts, reference = [], None, None
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for name, convert, flags, dummy in FORMATS:
            model = DEMO / "bf16"
            if convert:
                model = scratch / name.replace(" ", "-")
                subprocess.run([args.fathom, "convert", DEMO / "bf16", model, "--to", *convert], check=True,
                               stdout=subprocess.DEVNULL)
            with Server(args.fathom, model, *flags) as server:
                texts = texts or answers(server, problems[:8 if args.quick else 40])
                seen = distributions(server, texts)
                reference = reference or seen
                row = {"format": name, "file_bytes": weight_bytes(model), "accuracy": accuracy(server, problems),
                       "kl": divergence(reference, seen)}
            if dummy is not None:
                row["decode"], row["prefill"], row["bandwidth"] = speeds(args.fathom, dummy, scratch, args.quick)
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def table(rows):
    base = rows[0]["file_bytes"]
    lines = ["| format | file, of BF16 | held-out accuracy | mean KL from BF16 | decode, of BF16 | prefill, of BF16 "
             "| decode, of the bandwidth |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        speed = [f"{r[key]:.2f}" if key in r else "" for key in ("decode", "prefill", "bandwidth")]
        lines.append(f"| {r['format']} | {r['file_bytes'] / base:.2f} | {100 * r['accuracy']:.1f} % | {r['kl']:.5f} | "
                     + " | ".join(speed) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fathom", default=ROOT / "build" / "fathom")
    parser.add_argument("--quick", action="store_true", help="fewer problems and repetitions")
    parser.add_argument("--json", help="write the rows here")
    parser.add_argument("--write", help="replace the table in this Markdown file")
    args = parser.parse_args()
    rows = measure(args)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))
    if args.write:
        page = pathlib.Path(args.write)
        page.write_text(re.sub(r"(<!-- table -->\n).*?(\n<!-- end -->)", lambda m: m[1] + table(rows) + m[2],
                               page.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
