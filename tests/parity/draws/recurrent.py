"""Random configurations of models with recurrent or convolutional layers."""

from .common import FULL, flip, moe, shared


def mixed(rng, layers, one, other):
    """Both kinds: the reference cannot do without."""
    kinds = [rng.choice([one, other]) for _ in range(layers)]
    kinds[:2] = rng.sample([one, other], 2)
    return kinds


def lfm2(rng, model_type):
    config = {**shared(rng, model_type, "norm_eps"), **flip(rng, "conv_bias", "block_auto_adjust_ff_dim")}
    layers = config["num_hidden_layers"] = rng.randint(2, 4)
    config.update(conv_L_cache=rng.choice([2, 3, 4]), block_dim=config["hidden_size"],
                  block_multiple_of=rng.choice([32, 64]), block_ffn_dim_multiplier=rng.choice([None, 1.0, 1.3]),
                  max_position_embeddings=512)
    if rng.random() < 0.5:
        config["full_attn_idxs"] = sorted(rng.sample(range(layers), rng.randint(1, layers - 1)))
    else:
        config["layer_types"] = mixed(rng, layers, "conv", FULL)
    return config


def lfm2_moe(rng, model_type):
    config = {**lfm2(rng, model_type), **moe(rng), **flip(rng, "norm_topk_prob", "use_expert_bias")}
    config["num_dense_layers"] = rng.randint(0, config["num_hidden_layers"])
    return {**config, "routed_scaling_factor": rng.choice([1.0, 2.5])}


def delta(rng):
    keys = rng.choice([1, 2, 4])
    return {"linear_num_key_heads": keys, "linear_num_value_heads": keys * rng.choice([1, 2, 3]),
            "linear_key_head_dim": rng.choice([16, 32]), "linear_value_head_dim": rng.choice([16, 24, 64]),
            "linear_conv_kernel_dim": rng.choice([2, 4]), "head_dim": rng.choice([16, 32, 64]),
            "max_position_embeddings": 512}


def qwen3_next(rng, model_type):
    config = {**shared(rng, model_type), **delta(rng), **moe(rng)}
    layers = config["num_hidden_layers"] = rng.randint(2, 4)
    config.update(flip(rng, "norm_topk_prob", "tie_word_embeddings", "attention_bias"),
                  full_attention_interval=rng.randint(2, layers), partial_rotary_factor=rng.choice([0.25, 0.5, 1.0]),
                  shared_expert_intermediate_size=rng.choice([64, 96]), decoder_sparse_step=rng.choice([1, 1, 2]),
                  mlp_only_layers=[i for i in range(layers) if rng.random() < 0.2])
    if rng.random() < 0.2:
        config["num_experts"] = 0
    return config


def qwen3_5(rng, model_type):
    config = {**qwen3_next(rng, model_type), "num_experts": 0, "decoder_sparse_step": 1, "mlp_only_layers": []}
    if "moe" in model_type:
        config.update(moe(rng))
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": config.pop("rope_theta"),
                                 "partial_rotary_factor": config.pop("partial_rotary_factor")}
    if rng.random() < 0.5 and not model_type.endswith("_text"):
        return {"model_type": model_type, "text_config": config}
    return config


def mamba2(rng, model_type):
    groups = rng.choice([1, 2, 4])
    config = {k: v for k, v in shared(rng, model_type, "layer_norm_epsilon").items()
              if "attention" not in k and "key_value" not in k and "rope" not in k}
    config.update(flip(rng, "use_bias", "use_conv_bias", "tie_word_embeddings"),
                  num_heads=groups * rng.choice([1, 2, 3]), head_dim=rng.choice([8, 16, 33]),
                  state_size=rng.choice([4, 16, 20]), conv_kernel=rng.choice([2, 4]),
                  n_groups=groups, time_step_limit=rng.choice([[0.0, 1e9], [0.1, 0.5]]), time_step_rank="auto")
    return config


def falcon_h1(rng, model_type):
    groups = rng.choice([1, 1, 2])
    config = {**shared(rng, model_type), "head_dim": rng.choice([16, 32]), "max_position_embeddings": 512}
    config.update(flip(rng, "attention_bias", "mamba_conv_bias", "mamba_norm_before_gate", "mamba_proj_bias",
                       "mlp_bias", "projectors_bias", "tie_word_embeddings", "rope_traditional"),
                  # The reference normalises all groups together.
                  mamba_rms_norm=groups == 1 and rng.random() < 0.5, mamba_n_groups=groups,
                  mamba_n_heads=groups * rng.choice([1, 2, 3]), mamba_d_head=rng.choice([8, 16]),
                  mamba_d_state=rng.choice([4, 16]), mamba_d_conv=rng.choice([2, 4]),
                  embedding_multiplier=rng.choice([1.0, 2.5]), lm_head_multiplier=rng.choice([0.5, 1.0]))
    config["mamba_d_ssm"] = config["mamba_n_heads"] * config["mamba_d_head"]
    return config


def mamba(rng, model_type):
    config = {k: v for k, v in shared(rng, model_type).items()
              if "attention" not in k and "key_value" not in k and "rope" not in k}
    return {**config, **flip(rng, "use_bias", "use_conv_bias", "tie_word_embeddings", "use_bcdt_rms"),
            "state_size": rng.choice([4, 16, 20]), "conv_kernel": rng.choice([2, 4]),
            "time_step_rank": rng.choice(["auto", 5, 8])}


def jamba(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "mamba_conv_bias", "mamba_proj_bias", "tie_word_embeddings")}
    layers = config["num_hidden_layers"] = rng.randint(2, 4)
    kinds = [rng.choice(["attention", "mamba"]) for _ in range(layers)]
    kinds[:2] = rng.sample(["attention", "mamba"], 2)  # the reference needs both
    experts = rng.choice([1, 2, 5])
    # All experts, and offsets of which the reference thinks as transformers does.
    offset, period = rng.choice([(0, 1), (0, 2), (1, 2)])
    return {**config, "layers_block_type": kinds, "attn_layer_offset": 1, "attn_layer_period": 2,
            "num_experts": experts, "num_experts_per_tok": experts, "expert_layer_offset": offset,
            "expert_layer_period": period,
            "mamba_d_conv": rng.choice([2, 4]), "mamba_d_state": rng.choice([4, 16]),
            "mamba_expand": rng.choice([1, 2]), "mamba_dt_rank": rng.choice(["auto", 5]),
            "max_position_embeddings": 512}


def olmo_hybrid(rng, model_type):
    config = {**shared(rng, model_type), **delta(rng), "num_hidden_layers": rng.randint(2, 4)}
    config.update(flip(rng, "attention_bias", "linear_allow_neg_eigval", "tie_word_embeddings"),
                  layer_types=mixed(rng, config["num_hidden_layers"], "linear_attention", FULL))
    return config


def granite(rng, model_type):
    config = {**shared(rng, model_type), **flip(rng, "attention_bias", "mlp_bias", "tie_word_embeddings",
                                                "mamba_proj_bias", "mamba_conv_bias")}
    groups = rng.choice([1, 2])
    config.update(logits_scaling=rng.choice([1.0, 8]), attention_multiplier=rng.choice([0.05, 0.2]),
                  embedding_multiplier=rng.choice([1.0, 12]), residual_multiplier=rng.choice([0.22, 1.0]),
                  max_position_embeddings=512, position_embedding_type=rng.choice(["rope", "nope"]),
                  layer_types=[rng.choice(["mamba", "attention"]) for _ in range(config["num_hidden_layers"])],
                  mamba_n_groups=groups, mamba_n_heads=groups * rng.choice([1, 2, 3]), mamba_d_head=rng.choice([8, 16]),
                  mamba_d_state=rng.choice([4, 16]), mamba_d_conv=rng.choice([2, 4]))
    if rng.random() < 0.5:
        experts = moe(rng)
        config.update(num_local_experts=experts["num_experts"], num_experts_per_tok=experts["num_experts_per_tok"],
                      shared_intermediate_size=rng.choice([64, 96]), mlp_bias=False)
    return config


DRAWS = {
    "falcon_h1": falcon_h1, "falcon_mamba": mamba, "granitemoehybrid": granite,
    "jamba": jamba, "lfm2": lfm2, "lfm2_moe": lfm2_moe, "mamba": mamba,
    "mamba2": mamba2, "olmo_hybrid": olmo_hybrid, "qwen3_5": qwen3_5,
    "qwen3_5_moe": qwen3_5, "qwen3_5_moe_text": qwen3_5, "qwen3_5_text": qwen3_5, "qwen3_next": qwen3_next,
}
