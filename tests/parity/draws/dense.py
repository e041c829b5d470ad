"""Dense architectures that are not Llama's closest relatives, and the later Gemmas."""

from .common import FULL, SLIDING, flip, moe, rope_scaling, shared
from .classic import gemma3


def without(config, *keys):
    return {key: value for key, value in config.items() if key not in keys}


def llama_like(rng, model_type, *flags, **options):
    return {**shared(rng, model_type), **flip(rng, "tie_word_embeddings", *flags),
            "max_position_embeddings": rng.choice([64, 4096]), **options}


def head_dim(rng):
    return {"head_dim": rng.choice([16, 32, 64])}


def scaled(rng, config, kinds=None):
    half = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"]) // 2
    scaling = rope_scaling(rng, half)
    kind = scaling.get("rope_scaling", {})
    if kinds is not None and kind.get("type", kind.get("rope_type")) not in (None, *kinds):
        return config
    return {**config, **scaling}


def kinds_of(rng, layers):
    """At least one of each kind of layer."""
    kinds = [rng.choice([FULL, SLIDING]) for _ in range(layers)] + [FULL, SLIDING]
    rng.shuffle(kinds)
    return {"num_hidden_layers": len(kinds), "layer_types": kinds, "sliding_window": rng.choice([1, 2, 5, 16, 100])}


def nested_gemma3(rng, model_type):
    config = gemma3(rng, "gemma3_text")
    return {"model_type": model_type, "text_config": config, "vocab_size": config["vocab_size"]}


def gemma4_text(rng, model_type):
    config = {**shared(rng, model_type), **kinds_of(rng, rng.randint(0, 3))}
    del config["rope_theta"]
    layers = config["num_hidden_layers"]
    shared_layers = rng.choice([0, 0, 1, 2])
    owners = set(config["layer_types"][: layers - shared_layers])
    if not set(config["layer_types"]) <= owners:
        shared_layers = 0
    config.update(
        head_dim=rng.choice([16, 32]), global_head_dim=rng.choice([16, 32, 64]), num_kv_shared_layers=shared_layers,
        hidden_size_per_layer_input=rng.choice([0, 32, 64]), vocab_size_per_layer_input=config["vocab_size"],
        final_logit_softcapping=rng.choice([10.0, 30.0]), max_position_embeddings=4096,
        rope_parameters={
            FULL: {"rope_type": "proportional", "partial_rotary_factor": rng.choice([0.25, 0.5, 1.0]),
                   "rope_theta": rng.choice([10000.0, 1000000.0])},
            SLIDING: {"rope_type": "default", "rope_theta": rng.choice([100.0, 10000.0])}},
        **flip(rng, "use_double_wide_mlp", "attention_k_eq_v", "enable_moe_block", "tie_word_embeddings"))
    if config["attention_k_eq_v"] and rng.random() < 0.5:
        config["num_global_key_value_heads"] = rng.choice([1, config["num_attention_heads"]])
    if config["enable_moe_block"]:
        experts = moe(rng)
        config.update(num_experts=experts["num_experts"], top_k_experts=experts["num_experts_per_tok"],
                      moe_intermediate_size=experts["moe_intermediate_size"])
    return config


def gemma4(rng, model_type):
    config = gemma4_text(rng, "gemma4_text")
    return {"model_type": model_type, "text_config": config, "vocab_size": config["vocab_size"]}


def gemma3n(rng, model_type):
    config = {**shared(rng, "gemma3n_text"), **kinds_of(rng, rng.randint(0, 3)), **head_dim(rng)}
    kinds, layers = config["layer_types"], config["num_hidden_layers"]
    shared_layers = rng.choice([0, 1, 2])
    if len(set(kinds[: layers - shared_layers])) < 2:
        shared_layers = 0
    config.update(
        num_kv_shared_layers=shared_layers, vocab_size_per_layer_input=rng.choice([40, config["vocab_size"]]),
        hidden_size_per_layer_input=rng.choice([32, 64]), rope_local_base_freq=rng.choice([100.0, 10000.0]),
        final_logit_softcapping=rng.choice([10.0, 30.0]), max_position_embeddings=4096,
        activation_sparsity_pattern=[rng.choice([0.0, 0.5, 0.8]) for _ in range(layers)],
        altup_num_inputs=rng.choice([2, 4]), altup_active_idx=0, altup_coef_clip=rng.choice([0.5, 120.0]),
        altup_correct_scale=rng.random() < 0.5, laurel_rank=rng.choice([32, 64]))
    return {"model_type": model_type, "text_config": config}


def glm4(rng, model_type):
    config = llama_like(rng, model_type, "attention_bias", **head_dim(rng))
    return {**config, "partial_rotary_factor": rng.choice([0.5, 1.0]), "tie_word_embeddings": False}


def glm(rng, model_type):
    return llama_like(rng, model_type, "attention_bias", partial_rotary_factor=1.0, **head_dim(rng))


def ministral3(rng, model_type):
    config = without(llama_like(rng, model_type, **head_dim(rng)), "rope_theta")
    if rng.random() < 0.5:
        config.update(kinds_of(rng, rng.randint(0, 2)))
    original = rng.choice([4, 16, 64])
    return {**config, "rope_parameters": {
        "rope_type": "yarn", "rope_theta": rng.choice([10000.0, 1000000.0]), "factor": rng.choice([2.0, 16.0]),
        "original_max_position_embeddings": original, "llama_4_scaling_beta": rng.choice([0.0, 0.1, 0.5]),
        **rng.choice([{}, {"mscale": 1.0, "mscale_all_dim": 1.0}])}}


def mistral3(rng, model_type):
    inner = ministral3(rng, "ministral3") if rng.random() < 0.5 else llama_like(rng, "mistral", **head_dim(rng))
    return {"model_type": model_type, "text_config": inner}


def apertus(rng, model_type):
    config = llama_like(rng, model_type, "mlp_bias", attention_bias=False, post_norm=False, qk_norm=True)
    return scaled(rng, config)


def cohere2(rng, model_type):
    config = without(shared(rng, model_type, "layer_norm_eps"), "rope_theta")
    layers = rng.randint(2, 5)
    return {**config, **flip(rng, "attention_bias", "layer_norm_bias"), "num_hidden_layers": layers,
            "rope_theta": 50000.0, "head_dim": config["hidden_size"] // config["num_attention_heads"],
            "logit_scale": rng.choice([0.0625, 1.0]), "sliding_window": rng.choice([1, 2, 5, 16, 100]),
            "sliding_window_pattern": rng.randint(1, layers)}


def ernie4_5(rng, model_type):
    return llama_like(rng, model_type, "use_bias", **head_dim(rng))


def exaone(rng, model_type):
    config = scaled(rng, llama_like(rng, model_type, "attention_bias", "mlp_bias"))
    renamed = {"num_layers": config["num_hidden_layers"], "layer_norm_epsilon": config["rms_norm_eps"]}
    return {**without(config, "num_hidden_layers", "rms_norm_eps"), **renamed}


def exaone4(rng, model_type):
    config = scaled(rng, llama_like(rng, model_type, **head_dim(rng)))
    pattern, window = rng.choice([("LLG", 5), ("LG", 1), ("GL", 16), (None, None)])
    return {**config, "num_hidden_layers": rng.randint(3, 5), "sliding_window": window, "sliding_window_pattern": pattern,
            "rope_scaling": config.get("rope_scaling")}


def helium(rng, model_type):
    config = llama_like(rng, model_type, "attention_bias", "mlp_bias")
    return {**config, "head_dim": config["hidden_size"] // config["num_attention_heads"]}


def hunyuan(rng, model_type):
    config = llama_like(rng, model_type, "attention_bias", "use_qk_norm", **head_dim(rng))
    if rng.random() < 0.5:
        config["rope_scaling"] = {"type": "dynamic", "alpha": rng.choice([10.0, 1000.0]), "factor": 1.0}
    return config


def internlm2(rng, model_type):
    config = llama_like(rng, model_type, "bias", "rope_traditional")
    return {**config, **rng.choice([{}, {"rope_scaling": {"type": "linear", "factor": 2.0}}])}


def internlm3(rng, model_type):
    bias = rng.random() < 0.5
    config = llama_like(rng, model_type, "rope_traditional", bias=bias, qkv_bias=bias)
    return {**config, **rng.choice([{}, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}])}


def gpt_sizes(rng, model_type):
    config = shared(rng, model_type, "layer_norm_epsilon")
    return {"model_type": model_type, "n_embd": config["hidden_size"], "n_layer": config["num_hidden_layers"],
            "n_head": config["num_attention_heads"], "n_positions": 256, "vocab_size": config["vocab_size"],
            "layer_norm_epsilon": config["layer_norm_epsilon"]}


def lille(rng, model_type):
    config = gpt_sizes(rng, model_type)
    return {**without(config, "n_positions", "layer_norm_epsilon"), "block_size": 256, "layer_norm_eps": 1e-5,
            "n_embd": rng.choice([96, 128]), "rope_theta": rng.choice([100.0, 10000.0]),
            "n_kv_heads": rng.choice([h for h in (1, 2, 4) if config["n_head"] % h == 0])}


def mimo(rng, model_type):
    return scaled(rng, llama_like(rng, model_type, "rope_traditional"), ("linear",))


def minicpm(rng, model_type):
    config = llama_like(rng, model_type, scale_emb=rng.choice([1.0, 12]), scale_depth=rng.choice([0.5, 1.4]))
    return scaled(rng, {**config, "dim_model_base": rng.choice([32, 256]), "tie_word_embeddings": False})


def nanbeige(rng, model_type):
    return scaled(rng, llama_like(rng, model_type, "attention_bias", "mlp_bias", "skip_loop_final_norm",
                                  num_loops=rng.randint(1, 3)))


def nanochat(rng, model_type):
    return {**without(shared(rng, model_type), "rms_norm_eps"), "max_position_embeddings": 256}


def nemotron(rng, model_type):
    config = llama_like(rng, model_type, "attention_bias", "mlp_bias", hidden_act="relu2",
                        partial_rotary_factor=rng.choice([0.5, 1.0]))
    return {**without(config, "rms_norm_eps"), "norm_eps": config["rms_norm_eps"]}


def olmo(rng, model_type):
    config = shared(rng, model_type)
    return {"model_type": model_type, "d_model": config["hidden_size"], "n_layers": config["num_hidden_layers"],
            "n_heads": config["num_attention_heads"], "mlp_hidden_size": 2 * config["intermediate_size"],
            "vocab_size": config["vocab_size"], "embedding_size": config["vocab_size"] + rng.choice([0, 6]),
            "rope_theta": config["rope_theta"], **flip(rng, "weight_tying")}


def olmo3(rng, model_type):
    config = llama_like(rng, model_type, "attention_bias", **head_dim(rng))
    return scaled(rng, {**config, **kinds_of(rng, rng.randint(0, 3))})


def openelm(rng, model_type):
    layers = rng.randint(1, 4)
    kv_heads = [rng.choice([1, 2]) for _ in range(layers)]
    return {"model_type": model_type, "head_dim": rng.choice([16, 32]), "num_transformer_layers": layers,
            "model_dim": rng.choice([64, 96]), "vocab_size": rng.randint(50, 160), "ffn_dim_divisor": 32,
            "num_query_heads": [kv * rng.choice([1, 2, 3]) for kv in kv_heads], "num_kv_heads": kv_heads,
            "ffn_multipliers": [rng.choice([0.5, 1.0, 1.3, 2.7]) for _ in range(layers)],
            **flip(rng, "normalize_qk_projections", "share_input_output_layers")}


def phi(rng, model_type):
    config = shared(rng, model_type, "layer_norm_eps")
    return {**config, "partial_rotary_factor": rng.choice([0.25, 0.5, 1.0])}


def qwen(rng, model_type):
    config = without(shared(rng, model_type, "layer_norm_epsilon"), "num_key_value_heads", "rope_theta")
    channels = config["hidden_size"] // config["num_attention_heads"]
    return {**config, "kv_channels": channels, "intermediate_size": 2 * config["intermediate_size"],
            **flip(rng, "no_bias")}


def seed_oss(rng, model_type):
    flags = ("attention_bias", "attention_out_bias", "mlp_bias", "rope_traditional")
    config = scaled(rng, llama_like(rng, model_type, *flags, **head_dim(rng)), ("linear",))
    # The reference cannot multiply with a quantized embedding.
    return {**config, "tie_word_embeddings": False}


def telechat3(rng, model_type):
    return scaled(rng, llama_like(rng, model_type, "attention_bias", "mlp_bias", **head_dim(rng)))


def gpt2(rng, model_type):
    return {**gpt_sizes(rng, model_type), "n_ctx": 256}


def gpt_bigcode(rng, model_type):
    flags = flip(rng, "attention_bias", "mlp_bias", "tie_word_embeddings")
    return {**gpt_sizes(rng, model_type), "n_inner": rng.choice([64, 128]), "activation_function": "gelu", **flags}


def gpt_neox(rng, model_type):
    config = without(shared(rng, model_type, "layer_norm_eps"), "num_key_value_heads", "rope_theta")
    return {**config, "intermediate_size": 4 * config["hidden_size"], "max_position_embeddings": 256,
            "rotary_emb_base": rng.choice([100, 10000]), "rotary_pct": rng.choice([0.25, 0.5, 1.0]),
            "hidden_act": "gelu_new", **flip(rng, "use_parallel_residual")}


def gptj(rng, model_type):
    return {**gpt_sizes(rng, model_type), "rotary_dim": rng.choice([8, 16])}


def ropes(rng, part):
    return {"rope_type": "default", "rope_theta": rng.choice([100.0, 10000.0]), **part}


def mellum(rng, model_type):
    config = without(llama_like(rng, model_type, "norm_topk_prob", **head_dim(rng)), "rope_theta")
    return {**config, **kinds_of(rng, rng.randint(0, 2)), **moe(rng),
            "rope_parameters": {FULL: ropes(rng, {}), SLIDING: ropes(rng, {})}}


def muse_glimmer(rng, model_type):
    config = {**llama_like(rng, model_type, **head_dim(rng)), **kinds_of(rng, rng.randint(0, 3))}
    return {**config, "qk_scale_factor": rng.choice([0.5, 1.5]), "output_multiplier": rng.choice([0.2, 1.0]),
            "final_logit_softcapping": rng.choice([10.0, 20.0])}


def spark2_5(rng, model_type):
    config = without(llama_like(rng, model_type, "attention_bias", "mlp_bias", **head_dim(rng)), "rope_theta")
    part = {"partial_rotary_factor": rng.choice([0.25, 0.5, 1.0])}
    return {**config, **kinds_of(rng, rng.randint(0, 3)),
            "rope_parameters": {FULL: ropes(rng, part), SLIDING: ropes(rng, {})}}


DRAWS = {
    "acereason": llama_like, "apertus": apertus, "cohere2": cohere2, "ernie4_5": ernie4_5, "exaone": exaone,
    "exaone4": exaone4, "gemma3": nested_gemma3, "gemma3n": gemma3n, "gemma4": gemma4, "gemma4_text": gemma4_text, "gemma4_unified": gemma4,
    "glm": glm, "glm4": glm4, "gpt2": gpt2, "gpt_bigcode": gpt_bigcode, "gpt_neox": gpt_neox, "gptj": gptj,
    "helium": helium, "hunyuan_v1_dense": hunyuan, "internlm2": internlm2, "internlm3": internlm3, "lille-130m": lille,
    "llava": mistral3, "mellum": mellum, "mimo": mimo, "minicpm": minicpm, "ministral3": ministral3,
    "mistral3": mistral3, "muse_glimmer": muse_glimmer, "nanbeige": nanbeige, "nanochat": nanochat, "nemotron": nemotron,
    "olmo": olmo, "olmo3": olmo3, "openelm": openelm, "phi": phi, "qwen": qwen, "seed_oss": seed_oss,
    "spark2_5": spark2_5, "telechat3": telechat3,
}
