#!/usr/bin/env python3
"""Fathom against llama.cpp on one shape of random weights, run in turn in one session.

    compare.py [--python PYTHON-WITH-llama-cpp-python | --without-peer] [--repetitions 5] [--json OUT] [--only CASE]

Bytes per weight are matched, also in the output head, which GGUF files quantise: BF16 with BF16, INT8 and FP8 with
Q8_0, INT4 with Q4_0. Medians of the ratios Fathom / llama.cpp; above 1 Fathom is faster.

The case of clients sends chat-sized requests to a Fathom server at once, over HTTP; for llama.cpp it is the same
work as one batch, without a server: more than its server could do.

The case of a second request sends one prompt of 1,500 tokens twice to a Fathom server; its figure is the first TTFT
divided by the second one, without a peer.
"""
import argparse
import concurrent.futures
import json
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(ROOT / "bench"))
from server import Server  # noqa: E402
MODEL = ROOT / "bench" / "models" / "m"
FLAGS = {"BF16": [], "INT8": ["--quantization", "w8a8_int8", "--lm-head-dtype", "int8"],
         "FP8": ["--quantization", "fp8", "--lm-head-dtype", "fp8"],
         "INT4": ["--quantization", "awq", "--lm-head-dtype", "int4"]}

# name, Fathom's format, llama.cpp's type, batch, input, output, what is compared
CASES = [
    ("decode-bf16", "BF16", "bf16", 1, 16, 48, "median_decode_throughput"),
    ("decode-int8", "INT8", "q8_0", 1, 16, 48, "median_decode_throughput"),
    ("decode-fp8", "FP8", "q8_0", 1, 16, 48, "median_decode_throughput"),
    ("decode-int4", "INT4", "q4_0", 1, 16, 48, "median_decode_throughput"),
    ("prefill-bf16", "BF16", "bf16", 1, 2048, 1, "prefill_throughput"),
    ("prefill-int8", "INT8", "q8_0", 1, 2048, 1, "prefill_throughput"),
    ("prefill-fp8", "FP8", "q8_0", 1, 2048, 1, "prefill_throughput"),
    ("batch8-int8", "INT8", "q8_0", 8, 16, 24, "median_decode_throughput"),
    ("batch32-int8", "INT8", "q8_0", 32, 16, 24, "median_decode_throughput"),
    ("clients8-int8", "INT8", "q8_0", 8, 256, 64, "output_throughput"),
    ("depth4096-int8", "INT8", "q8_0", 1, 4096, 24, "median_decode_throughput"),
    ("second-request-int8", "INT8", None, 1, 1500, 1, "first_ttft_by_second"),
]


def dummy_server(args, flags):
    return Server(args.fathom, MODEL, "--load-format", "dummy", "--skip-tokenizer-init", "--threads", args.threads, *flags)


def request(rng, length, output):
    return {"input_ids": [rng.randrange(1000, 32000) for _ in range(length)],
            "sampling_params": {"temperature": 0, "max_new_tokens": output, "ignore_eos": True}}


def serve_clients(args, flags, batch, length, output):
    """Output tokens per second of a server with `batch` clients at once."""
    rng = random.Random(42)
    bodies = [request(rng, length, output) for _ in range(batch)]
    with dummy_server(args, flags) as server, concurrent.futures.ThreadPoolExecutor(batch) as pool:
        start = time.perf_counter()
        for answer in pool.map(lambda body: server.post_json("/generate", body), bodies):
            assert len(answer["output_ids"]) == output
        return {"output_throughput": batch * output / (time.perf_counter() - start)}


def serve_twice(args, flags, length, output):
    """How many times as long the first answer to a prompt takes as the second, which finds it in the prefix cache."""
    body = request(random.Random(42), length, output)
    with dummy_server(args, flags) as server:
        times = []
        for _ in range(2):
            start = time.perf_counter()
            server.post("/generate", body)
            times.append(time.perf_counter() - start)
        return {"first_ttft_by_second": times[0] / times[1]}


def last_result(command, file):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(pathlib.Path(file).read_text().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fathom", default=ROOT / "build" / "fathom")
    parser.add_argument("--python", default=sys.executable, help="a Python that has llama-cpp-python and gguf")
    parser.add_argument("--without-peer", action="store_true", help="Fathom alone, against the machine's limit")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--gguf-folder", help="keep the GGUF files here (8 GB)")
    parser.add_argument("--only", action="append", help="run this case only; may be given again")
    parser.add_argument("--json")
    args = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(args.gguf_folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name, fmt, peer_type, batch, length, output, key in CASES:
            if args.only and name not in args.only:
                continue
            with_peer = peer_type and not args.without_peer
            gguf = folder / f"m-{peer_type}.gguf"
            if with_peer and not gguf.exists():
                subprocess.run([args.python, HERE / "random_gguf.py", MODEL / "config.json", gguf, "--type", peer_type],
                               check=True)
            shape = ["--batch-size", str(batch), "--input-len", str(length), "--output-len", str(output)]
            file = pathlib.Path(scratch) / "results.jsonl"
            ours, theirs, share = [], [], []
            for _ in range(args.repetitions):
                if name.startswith("clients"):
                    own = serve_clients(args, FLAGS[fmt], batch, length, output)
                elif name.startswith("second"):
                    own = serve_twice(args, FLAGS[fmt], length, output)
                else:
                    own = last_result([args.fathom, "bench_one_batch", "--model-path", MODEL, "--load-format", "dummy",
                                       "--skip-tokenizer-init", "--log-level", "error", "--threads", args.threads,
                                       "--result-filename", file, *shape, *FLAGS[fmt]], file)
                ours.append(own[key])
                if with_peer:
                    peer = last_result([args.python, HERE / "one_batch.py", gguf, "--threads", args.threads,
                                        "--result-filename", file, *shape], file)
                    theirs.append(peer[key])
                if "weights_read_per_second" in own:
                    share.append(own["weights_read_per_second"] / own["machine_read_per_second"])
            row = {"case": name, "fathom": statistics.median(ours),
                   "llama.cpp": statistics.median(theirs) if theirs else None,
                   "ratio": statistics.median(a / b for a, b in zip(ours, theirs)) if theirs else None,
                   "bandwidth_share": statistics.median(share) if share else None}
            results.append(row)
            print(json.dumps(row), flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    print("\n| case | Fathom token/s | llama.cpp token/s | ratio | of the bandwidth |\n|---|---|---|---|---|")
    for r in results:
        cells = [f"{r[key]:.{digits}f}" if r[key] else ""
                 for key, digits in (("fathom", 1), ("llama.cpp", 1), ("ratio", 2), ("bandwidth_share", 2))]
        print(f"| {r['case']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
