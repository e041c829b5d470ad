"""Random configurations of variants of attention, and of mixtures of experts."""

from .common import FULL, SLIDING, flip, rope_scaling, shared


def routed(rng):
    count = rng.choice([2, 4, 8])
    groups = rng.choice([1, 1, 2]) if count >= 4 else 1
    return {"n_routed_experts": count, "num_experts_per_tok": rng.randint(1, count // groups),
            "n_shared_experts": rng.choice([1, 2]), "moe_intermediate_size": rng.choice([64, 96]),
            "first_k_dense_replace": rng.choice([0, 1]), "routed_scaling_factor": rng.choice([1.0, 2.5]),
            "n_group": groups, "topk_group": 1, **flip(rng, "norm_topk_prob")}


def latent(rng, model_type):
    config = {**shared(rng, model_type), **routed(rng), **flip(rng, "attention_bias")}
    config["num_attention_heads"] = config["num_key_value_heads"] = rng.choice([1, 2, 3, 5])
    config["max_position_embeddings"] = rng.choice([16, 256])
    config["q_lora_rank"] = rng.choice([None, 32, 96])
    config["kv_lora_rank"] = rng.choice([32, 64])
    config["qk_rope_head_dim"] = rng.choice([8, 16])
    config["qk_nope_head_dim"], config["v_head_dim"] = rng.choice([8, 32]), rng.choice([16, 32])
    config["moe_layer_freq"] = rng.choice([1, 1, 2])
    scaling = rope_scaling(rng, config["qk_rope_head_dim"] // 2).get("rope_scaling")
    if model_type == "deepseek_v2":
        # The reference knows YaRN only.
        kind = {"type": "yarn", "original_max_position_embeddings": 64, "beta_fast": 32, "beta_slow": 1}
        config["rope_scaling"] = {**kind, "factor": rng.choice([1.0, 4.0, 40.0]), "mscale": 0.707,
                                  "mscale_all_dim": rng.choice([0, 0.707])}
        config["topk_method"] = rng.choice(["greedy", "group_limited_greedy"]) if config["n_group"] > 1 else "greedy"
    elif scaling and scaling.get("type", scaling.get("rope_type")) in ("yarn", "linear"):
        config["rope_scaling"] = scaling
    return config


def glm4_moe(rng, model_type):
    config = {**shared(rng, model_type), **routed(rng), **flip(rng, "attention_bias", "use_qk_norm")}
    config.update({"head_dim": rng.choice([16, 32]), "max_position_embeddings": 256, "rope_scaling": None,
                   "partial_rotary_factor": rng.choice([0.5, 1.0]), "tie_word_embeddings": False})
    return config


def gpt_oss(rng, model_type):
    config = {**shared(rng, model_type), "head_dim": rng.choice([16, 32, 64]), "num_local_experts": rng.choice([1, 4, 6]),
              "sliding_window": rng.choice([1, 2, 5, 16, 100])}
    config["num_experts_per_tok"] = rng.randint(1, config["num_local_experts"])
    config["num_hidden_layers"] = rng.choice([2, 4])
    kinds = [rng.choice([FULL, SLIDING]) for _ in range(config["num_hidden_layers"])]
    if len(set(kinds)) == 2:  # the reference wants both
        config["layer_types"] = kinds
    scaling = rope_scaling(rng, config["head_dim"] // 2).get("rope_scaling")
    if scaling and scaling.get("type", scaling.get("rope_type")) in ("yarn", "linear"):
        config["rope_scaling"] = scaling
    return config


def mistral4(rng, model_type):
    config = latent(rng, model_type)
    config.pop("rope_scaling", None)
    config["rope_parameters"] = {"rope_type": "yarn", "rope_theta": config.pop("rope_theta"), "mscale": 1.0,
                                 "factor": rng.choice([1.0, 8.0]), "mscale_all_dim": rng.choice([0.0, 1.0]),
                                 "original_max_position_embeddings": rng.choice([4, 16, 512]),
                                 "llama_4_scaling_beta": rng.choice([0.1, 0.5])}
    del config["moe_layer_freq"]
    return {**config, **flip(rng, "tie_word_embeddings", "rope_interleave")}


def youtu_llm(rng, model_type):
    config = latent(rng, model_type)
    config.pop("rope_scaling", None)
    return {**config, **flip(rng, "tie_word_embeddings", "rope_traditional", "mlp_bias")}


def minicpm3(rng, model_type):
    config = {**latent(rng, model_type), "q_lora_rank": rng.choice([32, 96])}
    config["num_attention_heads"] = config["num_key_value_heads"] = rng.choice([1, 2, 4])
    config["v_head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    config.update(dim_model_base=rng.choice([16, 64]), scale_depth=rng.choice([1.0, 1.4]), scale_emb=rng.choice([1.0, 12.0]))
    factors = [round(1 + rng.random() * 4, 3) for _ in range(config["qk_rope_head_dim"] // 2)]
    config["rope_scaling"] = {"type": "longrope", "original_max_position_embeddings": rng.choice([64, 512]),
                              "long_factor": factors, "short_factor": factors}
    return config


def minimax(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "tie_word_embeddings", "use_qk_norm"), "head_dim": rng.choice([16, 32])}
    config.update(num_local_experts=rng.choice([1, 4, 8]), rotary_dim=rng.choice([8, 16]), max_position_embeddings=256,
                  shared_intermediate_size=0)
    return {**config, "num_experts_per_tok": rng.randint(1, config["num_local_experts"])}


def granitemoe(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "tie_word_embeddings", "attention_bias")}
    config.update(logits_scaling=rng.choice([1.0, 8.0]), attention_multiplier=rng.choice([0.05, 0.2]),
                  embedding_multiplier=rng.choice([1.0, 12.0]), residual_multiplier=rng.choice([0.22, 1.0]),
                  max_position_embeddings=256, num_local_experts=rng.choice([1, 4, 6]))
    return {**config, "num_experts_per_tok": rng.randint(1, config["num_local_experts"])}


def ernie4_5_moe(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "tie_word_embeddings", "use_bias"), "max_position_embeddings": 256}
    config.update(moe_num_experts=rng.choice([2, 6]), moe_intermediate_size=rng.choice([0, 64]),
                  moe_num_shared_experts=rng.choice([0, 1, 2]), moe_layer_start_index=rng.choice([0, 1]),
                  moe_layer_interval=rng.choice([1, 2]), moe_gate_act=rng.choice(["softmax", "sigmoid"]))
    return {**config, "moe_k": rng.randint(1, config["moe_num_experts"])}


def bailing_moe(rng, model_type):
    config = {**shared(rng, model_type), **routed(rng), "max_position_embeddings": 256}
    config["num_experts"], config["num_shared_experts"] = config.pop("n_routed_experts"), config.pop("n_shared_experts")
    config["score_function"] = rng.choice(["softmax", "sigmoid"])
    # With one the reference crashes.
    config["num_experts_per_tok"] = max(2, config["num_experts_per_tok"])
    config.update(flip(rng, "tie_word_embeddings", "use_bias", "use_qkv_bias", "use_qk_norm", "norm_head",
                       "moe_router_enable_expert_bias", "moe_router_enable_shared_expert"))
    # The reference looks for an output layer to normalise.
    config["norm_head"] = config["norm_head"] and not config["tie_word_embeddings"]
    return config


def dots1(rng, model_type):
    config = {**shared(rng, model_type), **routed(rng), "max_position_embeddings": 256, "head_dim": rng.choice([16, 32])}
    return {**config, **flip(rng, "tie_word_embeddings", "mlp_bias")}


def klear(rng, model_type):
    config = {**shared(rng, model_type), **routed(rng), "max_position_embeddings": 256}
    config["num_experts"] = config.pop("n_routed_experts")
    config["decoder_sparse_step"] = rng.choice([1, 2])
    config["mlp_only_layers"] = [i for i in range(config["num_hidden_layers"]) if rng.random() < 0.2]
    return {**config, **flip(rng, "attention_bias")}


def exaone_moe(rng, model_type):
    config = {**shared(rng, model_type), **routed(rng), "max_position_embeddings": 256, "head_dim": rng.choice([16, 32])}
    config["num_experts"], config["num_shared_experts"] = config.pop("n_routed_experts"), config.pop("n_shared_experts")
    layers = range(config["num_hidden_layers"])
    config["layer_types"] = [rng.choice([FULL, SLIDING]) for _ in layers]
    config["is_moe_layer"] = [rng.random() < 0.7 for _ in layers]
    config["sliding_window"] = rng.choice([1, 2, 5, 16, 100])
    return {**config, **flip(rng, "tie_word_embeddings")}


def deepseek(rng, model_type):
    config = {**shared(rng, model_type), **routed(rng), **flip(rng, "attention_bias"), "max_position_embeddings": 256}
    for key in ("routed_scaling_factor", "n_group", "topk_group", "norm_topk_prob"):
        del config[key]
    return {**config, "moe_layer_freq": rng.choice([1, 2])}


def mimo_v2_flash(rng, model_type):
    config = {**shared(rng, model_type, "layernorm_epsilon"), **routed(rng), "max_position_embeddings": 256}
    config["num_hidden_layers"] = rng.choice([2, 3, 4])
    layers = range(config["num_hidden_layers"])
    config["hybrid_layer_pattern"] = [0, 1] + [rng.choice([0, 1]) for _ in layers][2:]
    config["moe_layer_freq"] = [rng.choice([0, 1]) for _ in layers]
    config.update(sliding_window_size=rng.choice([1, 5, 100]), swa_rope_theta=1000.0, partial_rotary_factor=0.5,
                  swa_num_attention_heads=4, swa_num_key_value_heads=rng.choice([1, 2, 4]), topk_method="noaux_tc",
                  scoring_func="sigmoid", attention_value_scale=rng.choice([None, 0.7]))
    for key in ("head_dim", "v_head_dim", "swa_head_dim", "swa_v_head_dim"):
        config[key] = rng.choice([16, 24, 32])
    return {**config, **flip(rng, "add_swa_attention_sink_bias", "add_full_attention_sink_bias")}


DRAWS = {
    "Klear": klear, "bailing_moe": bailing_moe, "deepseek": deepseek, "deepseek_v2": latent, "deepseek_v3": latent,
    "dots1": dots1, "ernie4_5_moe": ernie4_5_moe, "exaone_moe": exaone_moe, "glm4_moe": glm4_moe,
    "glm4_moe_lite": latent, "gpt_oss": gpt_oss, "granitemoe": granitemoe, "joyai_llm_flash": latent, "kimi_k2": latent,
    "mimo_v2_flash": mimo_v2_flash, "minicpm3": minicpm3, "minimax": minimax, "minimax_m2": minimax, "mistral4": mistral4,
    "solar_open": glm4_moe, "youtu_llm": youtu_llm,
}
