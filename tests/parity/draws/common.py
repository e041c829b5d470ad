"""What the modules of random configurations share."""

FULL, SLIDING = "full_attention", "sliding_attention"


def rope_scaling(rng, half):
    """Any scaling that initialize_rope knows, with `half` = half the rotated dimensions; often none."""
    original = rng.choice([16, 64, 512])
    key = rng.choice(["type", "rope_type"])
    kinds = {
        "linear": lambda: {"factor": rng.choice([2.0, 3.5, 8])},
        "llama3": lambda: {"factor": rng.choice([4.0, 32.0]), "low_freq_factor": 1.0,
                           "high_freq_factor": rng.choice([2.0, 4.0]), "original_max_position_embeddings": original},
        "yarn": lambda: {"factor": rng.choice([2.0, 16.0]), "original_max_position_embeddings": original,
                         **rng.choice([{}, {"beta_fast": 16, "beta_slow": 2}, {"mscale": 0.8, "mscale_all_dim": 0.3}])},
        "dynamic": lambda: {"factor": rng.choice([1.5, 4.0])},
        "longrope": lambda: {"original_max_position_embeddings": original, "short_factor": [1.0] * half,
                             "long_factor": [round(1 + rng.random() * 4, 3) for _ in range(half)]},
        "default": lambda: {},
    }
    kind = rng.choice(list(kinds) + [None] * 4)
    return {} if kind is None else {"rope_scaling": {key: kind, **kinds[kind]()}}


def shared(rng, model_type, eps="rms_norm_eps"):
    hidden = rng.choice([64, 64, 96, 128])
    heads = rng.choice([1, 2, 4])
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": rng.randint(1, 4),
        "intermediate_size": rng.choice([64, 128, 192]),
        "num_attention_heads": heads,
        "num_key_value_heads": rng.choice([h for h in (1, 2, 4) if heads % h == 0]),
        eps: rng.choice([1e-6, 1e-5, 1e-3]),
        "vocab_size": rng.randint(50, 160),
        "rope_theta": rng.choice([100.0, 10000, 500000.0]),
    }


def flip(rng, *keys):
    return {key: rng.random() < 0.5 for key in keys}


def sliding_layers(rng, layers):
    if rng.random() < 0.6:
        return {}
    kinds = [rng.choice([FULL, SLIDING]) for _ in range(layers)]
    kinds[rng.randrange(layers)] = FULL  # the reference cannot do without
    return {"layer_types": kinds, "sliding_window": rng.choice([1, 2, 5, 16, 100])}


def moe(rng):
    experts = rng.choice([1, 2, 5, 8, 12])
    return {"num_experts": experts, "num_experts_per_tok": rng.randint(1, experts),
            "moe_intermediate_size": rng.choice([64, 96])}
