"""Compares the `mlxe` binary with mlx-lm on random tiny checkpoints of every architecture.

    python tests/parity/parity.py target/release/mlxe --seeds 20
    python tests/parity/parity.py target/release/mlxe --arch phi3 --first-seed 7 --seeds 1 --keep out
    python tests/parity/parity.py target/release/mlxe --seeds 6 --record docs/conformance.json

Each checkpoint is written to a folder (see tests/fixtures/models/checkpoint.py), loaded by both sides in float32, and
compared in two ways:

    mlxe logits   --model DIR --tokens 1,2,3 --dtype f32 --out FILE.safetensors      tensor `logits` [tokens, vocab]
    mlxe generate --model DIR --tokens 1,2,3 --dtype f32 --max-tokens 32 --temperature 0 --json       {"tokens": [..]}

`--record` keeps, for each architecture, the date, the worst error and what was tried, for docs/supported-models.md.

logits: max |a - b| / max |b| <= 1e-4. Greedy tokens: identical up to the first step at which the reference's two best
logits are closer than 1e-3; from there on both paths are right and may part. The last line is
`N passed, M failed`; the exit status is 1 if anything failed.
"""

import argparse
import datetime
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
from draws import DRAWS  # noqa: E402

# Of these the reference takes stacked experts only.
STACKED = ("granitemoehybrid", "qwen3_5", "gpt_oss")
TOLERANCE, MIN_GAP, MAX_TOKENS = 1e-4, 1e-3, 32


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
    config = DRAWS[arch](rng, arch)
    heads = {"gemma3_text": "lm_head.weight", "gemma3": "language_model.lm_head.weight"}
    drop = (heads[arch],) if arch in heads and rng.random() < 0.5 else ()
    tensors = ck.tensors_of(config, drop)
    for tensor in tensors:
        # Corrected scores of zero and less are those of experts in excluded groups, of which any may be taken.
        if tensor["name"].endswith("e_score_correction_bias"):
            tensor["amp"], tensor["offset"] = 0.4, 0.3
    quantize = None
    if rng.random() < 0.4 and (options := random_quantize(rng, config, tensors)):
        quantize, config["quantization"] = ck.quantize_plan(config, tensors, **options)
    # As on Hugging Face; the reference joins quantized ones for some architectures only.
    split = quantize is None and rng.random() < 0.5 and not (arch.startswith(STACKED) or config.get("use_bias"))
    return {
        **({"experts": "split"} if split else {}),
        "case": f"{arch}-{seed}",
        "config": config,
        "seed": seed,
        "quantize": quantize,
        "prompt": ck.prompt_tokens(seed, rng.choice([1, 2, 7, 24, 40]), ck.text_of(config)["vocab_size"]),
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
    config = ck.text_of(config)
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return "dynamic" in (scaling.get("type"), scaling.get("rope_type"))


def compare(binary, recipe, folder) -> tuple:
    """What is wrong, and the relative error of the logits."""
    ck.write_checkpoint(recipe, folder)
    prompt = recipe["prompt"]
    with ck.loaded(recipe) as model:
        logits = ck.full_logits(model, prompt)
        tokens, gaps = ck.greedy(model, prompt, MAX_TOKENS)
    model_and_tokens = ("--model", folder, "--tokens", ",".join(map(str, prompt)), "--dtype", "f32")
    complaints = []

    out, error = folder / "logits.out.safetensors", float("nan")
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
    return complaints, error


def packings(recipe) -> set:
    """How its layers are stored: "4-bit", "mxfp4", .."""
    layers = (recipe["quantize"] or {}).get("layers", {}).values()
    return {f"{how['bits']}-bit" if how["mode"] == "affine" else how["mode"] for how in layers} or {"plain"}


def record(path: Path, tried: dict):
    """Puts what was tried beside what is there of other architectures."""
    known = json.loads(path.read_text()) if path.exists() else {}
    for arch, results in tried.items():
        known[arch] = {
            **known.get(arch, {}),
            "date": datetime.date.today().isoformat(),
            "checkpoints": len(results),
            "failed": sum(bool(complaints) for complaints, _, _ in results),
            "worst_error": float(f"{max(error for _, error, _ in results):.1e}"),
            "stored": sorted(set().union(*(stored for _, _, stored in results))),
        }
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path, help="the mlxe executable")
    parser.add_argument("--seeds", type=int, default=10, help="checkpoints per architecture")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--arch", action="append", choices=sorted(DRAWS), help="only this one (repeatable)")
    parser.add_argument("--keep", type=Path, help="keep the checkpoints of failures here")
    parser.add_argument("--record", type=Path, help="a JSON file for what was tried")
    args = parser.parse_args()
    if not args.binary.is_file():
        parser.error(f"no such file: {args.binary}")
    mx.set_default_device(mx.cpu)
    passed, failed, tried = 0, 0, {}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for arch in args.arch or DRAWS:
            recipe = random_recipe(arch, seed)
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary) / recipe["case"]
                error = float("nan")
                try:
                    complaints, error = compare(args.binary.resolve(), recipe, folder)
                except AssertionError as why:
                    complaints = [str(why)]
                except Exception:  # a reference that cannot run this configuration must not look like a pass
                    complaints = [traceback.format_exc()]
                if complaints and args.keep:
                    shutil.copytree(folder, args.keep / recipe["case"], dirs_exist_ok=True)
            passed, failed = passed + (not complaints), failed + bool(complaints)
            tried.setdefault(arch, []).append((complaints, error, packings(recipe)))
            if complaints:
                print(f"FAIL {recipe['case']}: {'; '.join(complaints)}\n     {json.dumps(recipe['config'])}", flush=True)
    if args.record:
        record(args.record, tried)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
