#!/usr/bin/env python3
"""Peak memory and speed of `fathom convert`, on a checkpoint of random BF16 weights with the shape of a config.json.

    bench/convert/measure.py [--fathom build/fathom] [--config bench/models/m/config.json] [--shard-mib 1024]

The limit is 2 GiB and one shard. The peak is the process's resident set, with the pages of the mapped source in it.
Needs numpy.
"""
import argparse
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = [["fp8"], ["int8"], ["int8-block"], ["int4", "--group-size", "128"], ["nvfp4"]]


def tensors(c):
    """(name, shape)"""
    hidden, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    nope, rope, value, query = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["q_lora_rank"]

    def mlp(prefix, width):
        yield prefix + "gate_proj.weight", (width, hidden)
        yield prefix + "up_proj.weight", (width, hidden)
        yield prefix + "down_proj.weight", (hidden, width)

    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        yield p + "input_layernorm.weight", (hidden,)
        yield p + "post_attention_layernorm.weight", (hidden,)
        a = p + "self_attn."
        yield a + "q_a_proj.weight", (query, hidden)
        yield a + "q_a_layernorm.weight", (query,)
        yield a + "q_b_proj.weight", (heads * (nope + rope), query)
        yield a + "kv_a_proj_with_mqa.weight", (latent + rope, hidden)
        yield a + "kv_a_layernorm.weight", (latent,)
        yield a + "kv_b_proj.weight", (heads * (nope + value), latent)
        yield a + "o_proj.weight", (hidden, heads * value)
        if layer < c["first_k_dense_replace"]:
            yield from mlp(p + "mlp.", c["intermediate_size"])
            continue
        yield p + "mlp.gate.weight", (c["n_routed_experts"], hidden)
        yield p + "mlp.gate.e_score_correction_bias", (c["n_routed_experts"],)
        for expert in range(c["n_routed_experts"]):
            yield from mlp(f"{p}mlp.experts.{expert}.", c["moe_intermediate_size"])
        yield from mlp(p + "mlp.shared_experts.", c["n_shared_experts"] * c["moe_intermediate_size"])
    yield "model.norm.weight", (hidden,)
    yield "lm_head.weight", (c["vocab_size"], hidden)


def random_bf16(rng, shape):
    """Numbers around 1 / sqrt(columns); norms around 1, biases too: a checkpoint has no zeros here."""
    spread = 1 / np.sqrt(shape[-1]) if len(shape) > 1 else 1
    values = rng.standard_normal(shape, dtype=np.float32) * np.float32(spread)
    if len(shape) == 1:
        values = 1 + values / 100
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def write_shard(path, items, rng):
    header, at = {}, 0
    for name, shape in items:
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in items:
            file.write(random_bf16(rng, shape).tobytes())
    return at


def write_checkpoint(config, folder, shard_bytes):
    """Bytes of the largest shard."""
    shards, size = [[]], 0
    for item in tensors(config):
        bytes_ = 2 * int(np.prod(item[1]))
        if size + bytes_ > shard_bytes and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append(item)
        size += bytes_
    rng = np.random.default_rng(1)
    weight_map, largest = {}, 0
    for number, items in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        largest = max(largest, write_shard(folder / name, items, rng))
        weight_map |= {tensor: name for tensor, _ in items}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return largest


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fathom", default=ROOT / "build" / "fathom")
    parser.add_argument("--config", default=ROOT / "bench" / "models" / "m" / "config.json")
    parser.add_argument("--shard-mib", type=int, default=1024)
    parser.add_argument("--only", action="append", help="this format only; may be given again")
    args = parser.parse_args()
    config = json.loads(pathlib.Path(args.config).read_text())
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / "source"
        source.mkdir()
        largest = write_checkpoint(config, source, args.shard_mib << 20)
        limit = (2 << 30) + largest
        total = sum(f.stat().st_size for f in source.iterdir())
        print(f"source {total / 2**30:.2f} GiB, largest shard {largest / 2**20:.0f} MiB, limit {limit / 2**20:.0f} MiB\n")
        print("| to | peak MiB | of the limit | GB/s of the source |\n|---|---|---|---|")
        for target in TARGETS:
            if args.only and target[0] not in args.only:
                continue
            out = pathlib.Path(scratch) / "out"
            start = time.perf_counter()
            process = subprocess.Popen([args.fathom, "convert", source, out, "--to", *target],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            message = process.stderr.read().decode()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            if status != 0:
                raise SystemExit(f"{' '.join(target)}: {message[-2000:]}")
            peak = usage.ru_maxrss * 1024
            print(f"| {' '.join(target)} | {peak / 2**20:.0f} | {peak / limit:.2f} | {total / seconds / 1e9:.2f} |", flush=True)
            shutil.rmtree(out)


if __name__ == "__main__":
    main()
