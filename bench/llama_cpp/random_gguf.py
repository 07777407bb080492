#!/usr/bin/env python3
"""A GGUF file of random weights with the shape of a DeepSeek config.json, for timing llama.cpp beside Fathom.

    random_gguf.py bench/models/m/config.json OUT.gguf --type bf16|q8_0|q4_0

Needs PyPI's gguf. The bits of quantised blocks are random too; only their scales are set, so that activations stay
of order one.
"""
import argparse
import json

import gguf
import numpy as np

TYPES = {"bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0,
         "q4_0": gguf.GGMLQuantizationType.Q4_0}


def metadata(writer, c):
    writer.add_uint32("deepseek2.vocab_size", c["vocab_size"])
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(1)
    writer.add_rope_freq_base(c["rope_theta"])
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_expert_count(c["n_routed_experts"])
    writer.add_expert_used_count(c["num_experts_per_tok"])
    writer.add_expert_shared_count(c["n_shared_experts"])
    writer.add_expert_feed_forward_length(c["moe_intermediate_size"])
    writer.add_expert_weights_scale(c["routed_scaling_factor"])
    writer.add_expert_weights_norm(c["norm_topk_prob"])
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_leading_dense_block_count(c["first_k_dense_replace"])
    writer.add_q_lora_rank(c["q_lora_rank"])
    writer.add_kv_lora_rank(c["kv_lora_rank"])
    writer.add_key_length(c["kv_lora_rank"] + c["qk_rope_head_dim"])
    writer.add_value_length(c["kv_lora_rank"])
    writer.add_key_length_mla(c["qk_nope_head_dim"] + c["qk_rope_head_dim"])
    writer.add_value_length_mla(c["v_head_dim"])
    writer.add_rope_dimension_count(c["qk_rope_head_dim"])
    writer.add_tokenizer_model("none")


def tensors(c):
    """(name, shape as numpy has it, quantised?)"""
    hidden, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    experts, width = c["n_routed_experts"], c["moe_intermediate_size"]
    yield "token_embd.weight", (c["vocab_size"], hidden), True
    yield "output_norm.weight", (hidden,), False
    yield "output.weight", (c["vocab_size"], hidden), True
    for layer in range(c["num_hidden_layers"]):
        p = f"blk.{layer}."
        yield p + "attn_norm.weight", (hidden,), False
        yield p + "attn_q_a.weight", (c["q_lora_rank"], hidden), True
        yield p + "attn_q_a_norm.weight", (c["q_lora_rank"],), False
        yield p + "attn_q_b.weight", (heads * (nope + rope), c["q_lora_rank"]), True
        yield p + "attn_kv_a_mqa.weight", (latent + rope, hidden), True
        yield p + "attn_kv_a_norm.weight", (latent,), False
        yield p + "attn_k_b.weight", (heads, latent, nope), True
        yield p + "attn_v_b.weight", (heads, value, latent), True
        yield p + "attn_output.weight", (hidden, heads * value), True
        yield p + "ffn_norm.weight", (hidden,), False
        if layer < c["first_k_dense_replace"]:
            mlp = [("ffn_gate", (c["intermediate_size"], hidden)), ("ffn_up", (c["intermediate_size"], hidden)),
                   ("ffn_down", (hidden, c["intermediate_size"]))]
        else:
            shared = c["n_shared_experts"] * width
            mlp = [("ffn_gate_exps", (experts, width, hidden)), ("ffn_up_exps", (experts, width, hidden)),
                   ("ffn_down_exps", (experts, hidden, width)), ("ffn_gate_shexp", (shared, hidden)),
                   ("ffn_up_shexp", (shared, hidden)), ("ffn_down_shexp", (hidden, shared))]
            yield p + "ffn_gate_inp.weight", (experts, hidden), False
            yield p + "exp_probs_b.bias", (experts,), False
        for name, shape in mlp:
            yield p + name + ".weight", shape, True


def random_blocks(rng, shape, kind):
    """Bytes of a tensor: rows of quantised blocks, or BF16."""
    *rows, width = shape
    scale = (3 / width) ** 0.5
    if kind == gguf.GGMLQuantizationType.BF16:
        values = rng.random(shape, dtype=np.float32) * (2 * scale) - scale
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(*rows, width * 2)
    codes, largest = (32, 127) if kind == gguf.GGMLQuantizationType.Q8_0 else (16, 8)
    blocks = rng.integers(0, 256, (*rows, width // 32, 2 + codes), dtype=np.uint8)
    blocks[..., :2] = np.array([scale / largest], np.float16).view(np.uint8)
    return blocks.reshape(*rows, width // 32 * (2 + codes))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config")
    parser.add_argument("out")
    parser.add_argument("--type", choices=TYPES, required=True)
    args = parser.parse_args()
    config = json.load(open(args.config))
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(args.out, "deepseek2")
    metadata(writer, config)
    for name, shape, quantised in tensors(config):
        if quantised:
            writer.add_tensor(name, random_blocks(rng, shape, TYPES[args.type]), raw_dtype=TYPES[args.type])
        elif len(shape) == 1:
            writer.add_tensor(name, np.full(shape, 0 if name.endswith("bias") else 1, np.float32))
        else:
            writer.add_tensor(name, (rng.random(shape, dtype=np.float32) - 0.5) * (2 * (3 / shape[-1]) ** 0.5))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
