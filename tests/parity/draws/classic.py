"""Random configurations of Llama and its closest relatives."""

from .common import flip, moe, rope_scaling, shared, sliding_layers


def llama_like(rng, model_type):
    config = shared(rng, model_type)
    config.update(flip(rng, "attention_bias", "mlp_bias", "tie_word_embeddings"))
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    if rng.random() < 0.3:
        head_dim = config["head_dim"] = rng.choice([16, 32, 64])
    config["max_position_embeddings"] = rng.choice([16, 256])
    config.update(rope_scaling(rng, head_dim // 2))
    return config


def llama(rng, model_type):
    config = llama_like(rng, model_type)
    config["rope_traditional"] = rng.random() < 0.2
    if rng.random() < 0.2 and config["num_attention_heads"] == config["num_key_value_heads"]:
        del config["num_key_value_heads"]
    return {**config, **sliding_layers(rng, config["num_hidden_layers"])}


def qwen2(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "tie_word_embeddings", "rope_traditional")}
    return {**config, **rope_scaling(rng, config["hidden_size"] // config["num_attention_heads"] // 2)}


def qwen3(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "tie_word_embeddings"), "head_dim": rng.choice([16, 32, 64])}
    config["max_position_embeddings"] = rng.choice([16, 256])
    config.update(rope_scaling(rng, config["head_dim"] // 2))
    if rng.random() < 0.5:
        inner = config.pop("rope_scaling", {"rope_type": "default"})
        config["rope_parameters"] = {**inner, "rope_theta": config.pop("rope_theta")}
    return config


def gemma(rng, model_type):
    config = {**shared(rng, model_type), "head_dim": rng.choice([16, 32, 64])}
    if model_type == "gemma2":
        config["query_pre_attn_scalar"] = rng.choice([8, 24.0, 144])
        config["attn_logit_softcapping"] = rng.choice([3.0, 50.0])
        config["final_logit_softcapping"] = rng.choice([10.0, 30.0])
    return config


def gemma3(rng, model_type):
    config = {**gemma(rng, model_type), "query_pre_attn_scalar": rng.choice([8, 24.0, 256])}
    config["num_hidden_layers"] = rng.randint(2, 5)
    config["sliding_window_pattern"] = rng.randint(1, config["num_hidden_layers"])
    config["sliding_window"] = rng.choice([1, 2, 5, 16, 100])
    config["rope_local_base_freq"] = rng.choice([50.0, 10000])
    return {**config, **rope_scaling(rng, config["head_dim"] // 2)}


def phi3(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "tie_word_embeddings", "rope_traditional")}
    config["partial_rotary_factor"] = rng.choice([1.0, 0.75, 0.5])
    half = int(config["hidden_size"] // config["num_attention_heads"] * config["partial_rotary_factor"]) // 2
    factors = {"short_factor": [1.0] * half, "long_factor": [round(1 + rng.random() * 4, 3) for _ in range(half)]}
    config["max_position_embeddings"] = rng.choice([64, 4096, 131072])
    config["original_max_position_embeddings"] = rng.choice([64, 4096])
    kind = rng.choice([None, "longrope", "su", "linear"])
    if kind:
        config["rope_scaling"] = {"type": kind, **factors, **({"factor": 4.0} if kind == "linear" else {})}
        if kind != "linear":
            del config["rope_traditional"]
    return config


def olmo2(rng, model_type):
    return llama_like(rng, model_type)


def smollm3(rng, model_type):
    config = llama(rng, model_type)
    if rng.random() < 0.5:
        config["no_rope_layers"] = [rng.randint(0, 1) for _ in range(config["num_hidden_layers"])]
    else:
        config["no_rope_layer_interval"] = rng.randint(1, 4)
    return config


def starcoder2(rng, model_type):
    return {**shared(rng, model_type, "norm_epsilon"), **flip(rng, "tie_word_embeddings")}


def granite(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "tie_word_embeddings", "attention_bias", "mlp_bias")}
    config.update(logits_scaling=rng.choice([1.0, 8]), attention_multiplier=rng.choice([0.05, 0.2]),
                  embedding_multiplier=rng.choice([1.0, 12]), residual_multiplier=rng.choice([0.22, 1.0]),
                  max_position_embeddings=rng.choice([16, 256]))
    return {**config, **rope_scaling(rng, config["hidden_size"] // config["num_attention_heads"] // 2)}


def cohere(rng, model_type):
    config = {**shared(rng, model_type, "layer_norm_eps"), "logit_scale": rng.choice([0.0625, 1.0])}
    return {**config, **flip(rng, "attention_bias", "layer_norm_bias", "use_qk_norm")}


def stablelm(rng, model_type):
    config = {**shared(rng, model_type, "layer_norm_eps"), "partial_rotary_factor": rng.choice([0.25, 0.5, 1.0])}
    return {**config, **flip(rng, "use_qkv_bias", "use_parallel_residual", "qk_layernorm")}


def qwen3_moe(rng, model_type):
    config = {**shared(rng, model_type), **moe(rng), **flip(rng, "tie_word_embeddings", "norm_topk_prob")}
    layers = range(config["num_hidden_layers"])
    return {**config, "head_dim": rng.choice([16, 32, 64]), "max_position_embeddings": rng.choice([16, 256]),
            "decoder_sparse_step": rng.choice([1, 1, 2]), "mlp_only_layers": [i for i in layers if rng.random() < 0.2]}


def qwen2_moe(rng, model_type):
    config = {**shared(rng, model_type), **moe(rng), **flip(rng, "rope_traditional")}
    return {**config, "shared_expert_intermediate_size": rng.choice([64, 96, 128])}


def olmoe(rng, model_type):
    return {**llama_like(rng, model_type), **moe(rng), **flip(rng, "norm_topk_prob")}


def mixtral(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "tie_word_embeddings", "rope_traditional")}
    experts = moe(rng)
    return {**config, "num_local_experts": experts["num_experts"], "num_experts_per_tok": experts["num_experts_per_tok"]}


DRAWS = {
    "llama": llama, "mistral": llama, "iquestcoder": llama, "xverse": llama, "qwen2": qwen2, "qwen3": qwen3,
    "gemma": gemma, "gemma2": gemma, "gemma3_text": gemma3, "phi3": phi3, "olmo2": olmo2, "smollm3": smollm3,
    "starcoder2": starcoder2, "granite": granite, "cohere": cohere, "stablelm": stablelm,
    "qwen3_moe": qwen3_moe, "qwen2_moe": qwen2_moe, "olmoe": olmoe, "mixtral": mixtral,
}
