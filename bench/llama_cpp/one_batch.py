#!/usr/bin/env python3
"""llama.cpp's counterpart of `fathom bench_one_batch`: the same flags and result lines, through llama-cpp-python.

    one_batch.py MODEL.gguf --batch-size B --input-len N --output-len M --threads T --result-filename F
"""
import argparse
import json
import statistics
import time

import llama_cpp as ll
import numpy as np


def decode(context, batch, rows):
    """rows: (token, position, sequence, wants logits)."""
    batch.n_tokens = len(rows)
    for i, (token, position, sequence, wanted) in enumerate(rows):
        batch.token[i] = token
        batch.pos[i] = position
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequence
        batch.logits[i] = wanted
    if ll.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--input-len", type=int, default=1024)
    parser.add_argument("--output-len", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--result-filename")
    args = parser.parse_args()
    quiet = ll.llama_log_callback(lambda *_: None)  # llama.cpp keeps it, so it must outlive the calls below
    ll.llama_log_set(quiet, None)
    ll.llama_backend_init()
    model = ll.llama_load_model_from_file(args.model.encode(), ll.llama_model_default_params())
    if not model:
        raise SystemExit(f"{args.model} cannot be loaded")
    params = ll.llama_context_default_params()
    params.n_ctx = args.batch_size * (args.input_len + args.output_len + 64)
    params.n_batch = 2048
    params.n_ubatch = 512
    params.n_seq_max = args.batch_size
    params.n_threads = params.n_threads_batch = args.threads
    context = ll.llama_new_context_with_model(model, params)
    vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))
    batch = ll.llama_batch_init(2048, 0, 1)
    rng = np.random.default_rng(42)

    decode(context, batch, [(1, i, 0, i == 7) for i in range(8)])  # warm-up
    ll.llama_memory_clear(ll.llama_get_memory(context), True)

    start = time.perf_counter()
    prompts = [(int(token), position, sequence, position == args.input_len - 1)
               for sequence in range(args.batch_size)
               for position, token in enumerate(rng.integers(0, vocab, args.input_len))]
    for first in range(0, len(prompts), 2048):
        decode(context, batch, prompts[first:first + 2048])
    ll.llama_synchronize(context)
    prefill = time.perf_counter() - start
    steps = []
    for step in range(args.output_len - 1):
        begin = time.perf_counter()
        decode(context, batch, [(7 + step, args.input_len + step, s, True) for s in range(args.batch_size)])
        ll.llama_get_logits_ith(context, 0)
        steps.append(time.perf_counter() - begin)
    result = {"run_name": "llama.cpp", "batch_size": args.batch_size, "input_len": args.input_len,
              "output_len": args.output_len, "prefill_latency": prefill,
              "prefill_throughput": args.batch_size * args.input_len / prefill}
    if steps:
        median = statistics.median(steps)
        result |= {"median_decode_latency": median, "median_decode_throughput": args.batch_size / median,
                   "output_throughput": args.batch_size * args.output_len / (prefill + sum(steps))}
    print(json.dumps(result))
    if args.result_filename:
        with open(args.result_filename, "a") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
