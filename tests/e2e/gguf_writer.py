"""GGUF files from checkpoint folders, written with the `gguf` package as llama.cpp's converter does: its
tensor-name map, its metadata keys, its quantisers. Q4_K and Q6_K, which it cannot quantise, are made here."""
import json
from pathlib import Path

import gguf
import numpy

Type = gguf.GGMLQuantizationType


def read_tensors(folder):
    """All tensors of a BF16 / F32 checkpoint as FP32 arrays (numpy has no BF16)."""
    tensors = {}
    for path in sorted(Path(folder).glob("model*.safetensors")):
        raw = path.read_bytes()
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:8 + size])
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            data = raw[8 + size + begin:8 + size + end]
            if entry["dtype"] == "BF16":
                values = (numpy.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
            else:
                values = numpy.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype("f4")
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def pack_six_bits(scale, low):
    """Eight 6-bit scales and minima per row in twelve bytes, as in block_q4_K."""
    packed = numpy.zeros((len(scale), 12), "u1")
    packed[:, :4] = (scale[:, :4] & 63) | ((scale[:, 4:] >> 4) << 6)
    packed[:, 4:8] = (low[:, :4] & 63) | ((low[:, 4:] >> 4) << 6)
    packed[:, 8:] = (scale[:, 4:] & 15) | ((low[:, 4:] & 15) << 4)
    return packed


def quantize_q4_k(values):
    blocks = values.reshape(-1, 8, 32)
    low = numpy.minimum(blocks.min(axis=2), 0)
    step = (blocks.max(axis=2) - low) / 15
    d = (step.max(axis=1) / 63).astype("f2").astype("f4")
    minimum = (-low.min(axis=1) / 63).astype("f2").astype("f4")
    scale = numpy.round(step / numpy.where(d > 0, d, 1)[:, None]).clip(0, 63).astype("u1")
    offset = numpy.round(-low / numpy.where(minimum > 0, minimum, 1)[:, None]).clip(0, 63).astype("u1")
    real_step = d[:, None] * scale
    codes = (blocks + (minimum[:, None] * offset)[:, :, None]) / numpy.where(real_step > 0, real_step, 1)[:, :, None]
    codes = numpy.round(codes).clip(0, 15).astype("u1").reshape(-1, 4, 2, 32)
    packed = (codes[:, :, 0] | (codes[:, :, 1] << 4)).reshape(-1, 128)
    head = numpy.stack([d, minimum], axis=1).astype("<f2").view("u1").reshape(-1, 4)
    return numpy.concatenate([head, pack_six_bits(scale, offset), packed], axis=1)


def quantize_q6_k(values):
    blocks = values.reshape(-1, 16, 16)
    largest = numpy.take_along_axis(blocks, numpy.abs(blocks).argmax(axis=2)[:, :, None], 2)[:, :, 0]
    step = largest / -32
    d = (numpy.abs(step).max(axis=1) / 127).astype("f2").astype("f4")
    scale = numpy.round(step / numpy.where(d > 0, d, 1)[:, None]).clip(-128, 127).astype("i1")
    real_step = d[:, None] * scale
    codes = numpy.round(blocks / numpy.where(real_step != 0, real_step, 1)[:, :, None]).clip(-32, 31) + 32
    codes = codes.astype("u1").reshape(-1, 2, 4, 32)  # half, quarter, position
    low, high = codes & 15, codes >> 4
    ql = numpy.concatenate([low[:, :, 0] | (low[:, :, 2] << 4), low[:, :, 1] | (low[:, :, 3] << 4)], axis=2)
    qh = high[:, :, 0] | (high[:, :, 1] << 2) | (high[:, :, 2] << 4) | (high[:, :, 3] << 6)
    parts = [ql.reshape(-1, 128), qh.reshape(-1, 64), scale.view("u1"), d[:, None].astype("<f2").view("u1")]
    return numpy.concatenate(parts, axis=1)


BY_HAND = {Type.Q4_K: quantize_q4_k, Type.Q6_K: quantize_q6_k}


def encode(values, type):
    """Bytes of an array in a type, the shape in bytes."""
    values = numpy.ascontiguousarray(values, dtype="f4")
    if type == Type.F32:
        return values
    if type == Type.F16:
        return values.astype("f2")
    if type in BY_HAND:
        return BY_HAND[type](values).reshape(*values.shape[:-1], -1)
    return gguf.quants.quantize(values, type)


def add_metadata(writer, config, layers, split_kv_b):
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_rope_dimension_count(config["qk_rope_head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_leading_dense_block_count(config["first_k_dense_replace"])
    key = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    latent, value = config["kv_lora_rank"], config["v_head_dim"]
    if split_kv_b:
        writer.add_head_count_kv(1)
        writer.add_key_length(latent + config["qk_rope_head_dim"])
        writer.add_value_length(latent)
        writer.add_key_length_mla(key)
        writer.add_value_length_mla(value)
    else:
        writer.add_head_count_kv(config["num_attention_heads"])
        writer.add_key_length(key)
        writer.add_value_length(value)
    writer.add_kv_lora_rank(latent)
    if config.get("q_lora_rank"):
        writer.add_q_lora_rank(config["q_lora_rank"])
    writer.add_expert_count(config["n_routed_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_shared_count(config["n_shared_experts"])
    writer.add_expert_weights_scale(config["routed_scaling_factor"])
    writer.add_expert_weights_norm(config["norm_topk_prob"])
    sigmoid = config.get("scoring_func") == "sigmoid"
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if sigmoid else gguf.ExpertGatingFuncType.SOFTMAX)
    if config.get("n_group", 1) > 1:
        writer.add_expert_group_count(config["n_group"])
        writer.add_expert_group_used_count(config["topk_group"])
    yarn = config.get("rope_scaling")
    if yarn:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(yarn["factor"])
        writer.add_rope_scaling_orig_ctx_len(yarn["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_log_mul(0.1 * yarn["mscale_all_dim"])


def add_tokenizer(writer, folder, pre):
    folder = Path(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    names = {id: text for text, id in tokenizer["model"]["vocab"].items()}
    types = dict.fromkeys(names, gguf.TokenType.NORMAL)
    for added in tokenizer["added_tokens"]:
        names[added["id"]] = added["content"]
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    count = max(names) + 1
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([names.get(id, f"[PAD{id}]") for id in range(count)])
    writer.add_token_types([types.get(id, gguf.TokenType.UNUSED) for id in range(count)])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    text = lambda token: token["content"] if isinstance(token, dict) else token
    ids = {name: id for id, name in names.items()}
    writer.add_bos_token_id(ids[text(config["bos_token"])])
    writer.add_eos_token_id(ids[text(config["eos_token"])])
    writer.add_add_bos_token(config["add_bos_token"])
    if "chat_template" in config:
        writer.add_chat_template(config["chat_template"])


def gguf_tensors(config, tensors, layers, split_kv_b):
    """(GGUF name, FP32 array) of every tensor, named by the package's own map."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.DEEPSEEK2, layers)
    experts = {}
    for name, values in tensors.items():
        if name.startswith("model.layers.") and int(name.split(".")[2]) >= layers:
            continue  # MTP
        if ".mlp.experts." in name:
            prefix, rest = name.split(".experts.")
            number, kind = rest.split(".", 1)
            experts.setdefault(f"{prefix}.experts.{kind}", {})[int(number)] = values
            continue
        name = name.replace("e_score_correction_bias", "e_score_correction.bias")
        if split_kv_b and name.endswith("kv_b_proj.weight"):
            nope, value = config["qk_nope_head_dim"], config["v_head_dim"]
            heads = values.reshape(config["num_attention_heads"], nope + value, -1)
            yield names.get_name(name.replace("kv_b_proj", "k_b_proj"), (".weight",)), heads[:, :nope].transpose(0, 2, 1)
            yield names.get_name(name.replace("kv_b_proj", "v_b_proj"), (".weight",)), heads[:, nope:]
            continue
        yield names.get_name(name, (".weight", ".bias")), values
    for name, parts in experts.items():
        yield names.get_name(name, (".weight",)), numpy.stack([parts[e] for e in range(len(parts))])


def write_gguf(folder, path, type, *, split_kv_b=False, pre="deepseek-v3", parts=1, tokenizer=True,
               encoder=lambda name, values, type: encode(values, type)):
    """`type`: of the large matrices; the router and vectors are F32, as llama.cpp leaves them. `encoder` makes
    the bytes of each. Returns the (first) file's path."""
    folder, path = Path(folder), Path(path)
    config = json.loads((folder / "config.json").read_text())
    layers = config["num_hidden_layers"]
    items = list(gguf_tensors(config, read_tensors(folder), layers, split_kv_b))
    share = -(-len(items) // parts)
    for part in range(parts):
        out = path if parts == 1 else path.with_name(f"{path.stem}-{part + 1:05}-of-{parts:05}.gguf")
        writer = gguf.GGUFWriter(out, "deepseek2")
        if part == 0:
            add_metadata(writer, config, layers, split_kv_b)
            if tokenizer:
                add_tokenizer(writer, folder, pre)
        if parts > 1:
            writer.add_uint16(gguf.Keys.Split.LLM_KV_SPLIT_NO, part)
            writer.add_uint16(gguf.Keys.Split.LLM_KV_SPLIT_COUNT, parts)
            writer.add_int32(gguf.Keys.Split.LLM_KV_SPLIT_TENSORS_COUNT, len(items))
        for name, values in items[part * share:(part + 1) * share]:
            assert name, "the map has no name"
            block = gguf.GGML_QUANT_SIZES[type][0]
            small = values.ndim < 2 or "gate_inp" in name or values.shape[-1] % block
            kind = Type.F32 if small else type
            writer.add_tensor(name, encoder(name, values, kind), raw_dtype=None if kind in (Type.F32, Type.F16) else kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return path if parts == 1 else path.with_name(f"{path.stem}-00001-of-{parts:05}.gguf")
