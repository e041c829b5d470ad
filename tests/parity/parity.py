"""Compares the `mlxe` binary with mlx-lm on random tiny checkpoints of every architecture.

    python tests/parity/parity.py target/release/mlxe --seeds 20
    python tests/parity/parity.py target/release/mlxe --arch phi3 --first-seed 7 --seeds 1 --keep out

Each checkpoint is written to a folder (see tests/fixtures/models/checkpoint.py), loaded by both sides in float32, and
compared in two ways:

    mlxe logits   --model DIR --tokens 1,2,3 --dtype f32 --out FILE.safetensors      tensor `logits` [tokens, vocab]
    mlxe generate --model DIR --tokens 1,2,3 --dtype f32 --max-tokens 32 --temperature 0 --json       {"tokens": [..]}

logits: max |a - b| / max |b| <= 1e-4. Greedy tokens: identical up to the first step at which the reference's two best
logits are closer than 1e-3; from there on both paths are right and may part. The last line is
`N passed, M failed`; the exit status is 1 if anything failed.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import mlx.core as mx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures" / "models"))
import checkpoint as ck  # noqa: E402

TOLERANCE, MIN_GAP, MAX_TOKENS = 1e-4, 1e-3, 32
FULL, SLIDING = "full_attention", "sliding_attention"


# --- random configurations ----------------------------------------------------------------------------------------


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


def moe(rng):
    experts = rng.choice([1, 2, 5, 8, 12])
    return {"num_experts": experts, "num_experts_per_tok": rng.randint(1, experts),
            "moe_intermediate_size": rng.choice([64, 96])}


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


MAKERS = {
    "llama": llama, "mistral": llama, "iquestcoder": llama, "xverse": llama, "qwen2": qwen2, "qwen3": qwen3,
    "gemma": gemma, "gemma2": gemma, "gemma3_text": gemma3, "phi3": phi3, "olmo2": olmo2, "smollm3": smollm3,
    "starcoder2": starcoder2, "granite": granite, "cohere": cohere, "stablelm": stablelm,
    "qwen3_moe": qwen3_moe, "qwen2_moe": qwen2_moe, "olmoe": olmoe, "mixtral": mixtral,
}


def packing(rng, widths):
    """Random settings that fit rows of every one of these widths, or None."""
    if rng.random() < 0.15 and all(w % 32 == 0 for w in widths):
        mode, bits, group = rng.choice([("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)])
        return {"bits": bits, "group_size": group, "mode": mode}
    groups = [g for g in (32, 64, 128) if all(w % g == 0 for w in widths)]
    return {"bits": rng.choice([2, 3, 4, 4, 4, 5, 6, 8]), "group_size": rng.choice(groups)} if groups else None


def random_quantize(rng, config, tensors):
    """Like a converter's output: one setting, some layers with another or none, some of these not in config.json."""
    widths = {t["name"].rpartition(".")[0]: t["shape"][-1] for t in tensors if t["name"].endswith(".weight")}
    paths = ck.quantizable(config, tensors)
    options = packing(rng, [widths[p] for p in paths])
    if options is None:
        return None
    tables = {"overrides": {}, "unlisted": {}}
    for path in paths if rng.random() < 0.6 else []:
        other = packing(rng, [widths[path]])
        if rng.random() < 0.25 and other is not None:
            tables[rng.choice(list(tables))][path] = rng.choice([False, other])
    return {**options, **tables}


def random_recipe(arch: str, seed: int) -> dict:
    rng = random.Random(f"{arch} {seed}")
    config = MAKERS[arch](rng, arch)
    drop = ("lm_head.weight",) if arch == "gemma3_text" and rng.random() < 0.5 else ()
    tensors = ck.tensors_of(config, drop)
    quantize = None
    if rng.random() < 0.4 and (options := random_quantize(rng, config, tensors)):
        quantize, config["quantization"] = ck.quantize_plan(config, tensors, **options)
    # As on Hugging Face; the reference joins quantized ones for some architectures only.
    split = quantize is None and rng.random() < 0.5
    return {
        **({"experts": "split"} if split else {}),
        "case": f"{arch}-{seed}",
        "config": config,
        "seed": seed,
        "quantize": quantize,
        "prompt": ck.prompt_tokens(seed, rng.choice([1, 2, 7, 24, 40]), config["vocab_size"]),
        "tensors": tensors,
    }


# --- the comparison -----------------------------------------------------------------------------------------------


def run(binary, *args) -> str:
    done = subprocess.run([binary, *map(str, args)], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise AssertionError(f"mlxe {args[0]} exited with {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def depends_on_chunks(config) -> bool:
    """Dynamic NTK rope turns keys by a base that depends on how the prompt was cut, so greedy paths may differ."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return "dynamic" in (scaling.get("type"), scaling.get("rope_type"))


def compare(binary, recipe, folder) -> list:
    ck.write_checkpoint(recipe, folder)
    prompt = recipe["prompt"]
    with ck.loaded(recipe) as model:
        logits = ck.full_logits(model, prompt)
        tokens, gaps = ck.greedy(model, prompt, MAX_TOKENS)
    model_and_tokens = ("--model", folder, "--tokens", ",".join(map(str, prompt)), "--dtype", "f32")
    complaints = []

    out = folder / "logits.out.safetensors"
    run(binary, "logits", *model_and_tokens, "--out", out)
    ours = np.array(mx.load(str(out))["logits"])
    if ours.shape != logits.shape or ours.dtype != np.float32:
        complaints.append(f"logits are {ours.dtype}{list(ours.shape)}, expected float32{list(logits.shape)}")
    elif not (error := ck.relative_error(ours, logits)) <= TOLERANCE:
        row = int(np.argmax(np.max(np.abs(ours - logits), axis=1)))
        complaints.append(f"logits differ by {error:.1e}, most at position {row} of {len(prompt)}")

    options = ("--max-tokens", MAX_TOKENS, "--max-context", 4096, "--temperature", 0, "--json")
    ours = json.loads(run(binary, "generate", *model_and_tokens, *options))["tokens"]
    if not depends_on_chunks(recipe["config"]):
        if len(ours) != len(tokens):
            complaints.append(f"{len(ours)} tokens generated, expected {len(tokens)}")
        for step, (a, b, gap) in enumerate(zip(ours, tokens, gaps)):
            if a != b:
                if gap >= MIN_GAP:
                    complaints.append(f"greedy token {step} is {a}, expected {b} (gap {gap:.1e})")
                break
    return complaints


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path, help="the mlxe executable")
    parser.add_argument("--seeds", type=int, default=10, help="checkpoints per architecture")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--arch", action="append", choices=sorted(MAKERS), help="only this one (repeatable)")
    parser.add_argument("--keep", type=Path, help="keep the checkpoints of failures here")
    args = parser.parse_args()
    if not args.binary.is_file():
        parser.error(f"no such file: {args.binary}")
    mx.set_default_device(mx.cpu)
    passed, failed = 0, 0
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for arch in args.arch or MAKERS:
            recipe = random_recipe(arch, seed)
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary) / recipe["case"]
                try:
                    complaints = compare(args.binary.resolve(), recipe, folder)
                except AssertionError as error:
                    complaints = [str(error)]
                except Exception:  # a reference that cannot run this configuration must not look like a pass
                    complaints = [traceback.format_exc()]
                if complaints and args.keep:
                    shutil.copytree(folder, args.keep / recipe["case"], dirs_exist_ok=True)
            passed, failed = passed + (not complaints), failed + bool(complaints)
            if complaints:
                print(f"FAIL {recipe['case']}: {'; '.join(complaints)}\n     {json.dumps(recipe['config'])}", flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
