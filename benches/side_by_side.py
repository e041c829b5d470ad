"""mlxe beside mlx-lm 0.32.2: the same checkpoint, the same libmlx, the same run.

    python benches/side_by_side.py target/release/mlxe [--case toy] [--case load] [--rounds 5]

Writes random checkpoints to a temporary folder, then measures both programs in turns, so that whatever else the
machine does hits both. Prints medians and the ratio of medians; seconds and rates belong to this machine and this
moment, the ratios are the result. Weights are random, so texts mean nothing.

Cases
  toy     a 2-layer, 64-wide llama in f32, where only overhead counts: decode rate
  load    a 1.2 GB bf16 checkpoint in one file, its pages in the cache: seconds from the call to the ready model
  memory  the same: peak bytes of MLX against weights + keys and values
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

# Runs in a process of its own: {"what": "decode" | "load", "model": folder, ...} in, one JSON line out.
WORKER = r"""
import json, sys, time
import mlx.core as mx
from mlx_lm.generate import generate_step
from mlx_lm.utils import load_model
from pathlib import Path

# As in tests/fixtures/models/checkpoint.py: mlx-lm 0.32.2 passes an argument that mlx 0.32.2 does not take.
gather_qmm = mx.gather_qmm
mx.gather_qmm = lambda *args, global_scale=None, **options: gather_qmm(*args, **options)
job = json.loads(sys.argv[1])
start = time.perf_counter()
model, config = load_model(Path(job["model"]), lazy=False)
loaded = time.perf_counter() - start
out = {"load_seconds": loaded}
if job["what"] == "decode":
    n = job["prompt"]
    prompt = mx.array([(i * 7919 + 13) % config["vocab_size"] for i in range(n)])
    rates, firsts = [], []
    for run in range(job["runs"] + 1):
        start = time.perf_counter()
        first = None
        for i, (token, _) in enumerate(generate_step(prompt, model, max_tokens=job["tokens"])):
            if first is None:
                first = time.perf_counter()
        end = time.perf_counter()
        if not run:
            out["first_call"] = first - start
        else:
            rates.append((job["tokens"] - 1) / (end - first))
            firsts.append(first - start)
    out["decode"] = sorted(rates)[len(rates) // 2]
    out["first"] = sorted(firsts)[len(firsts) // 2]
out["peak"] = mx.get_peak_memory()
print(json.dumps(out))
"""


def write(folder, config, dtype):
    """A llama of this shape with random weights in one file."""
    import mlx.core as mx

    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    h, inner = config["hidden_size"], config["intermediate_size"]
    kv = h // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], h), "model.norm.weight": (h,)}
    for i in range(config["num_hidden_layers"]):
        p = f"model.layers.{i}."
        shapes |= {
            p + "self_attn.q_proj.weight": (h, h), p + "self_attn.k_proj.weight": (kv, h),
            p + "self_attn.v_proj.weight": (kv, h), p + "self_attn.o_proj.weight": (h, h),
            p + "mlp.gate_proj.weight": (inner, h), p + "mlp.up_proj.weight": (inner, h),
            p + "mlp.down_proj.weight": (h, inner),
            p + "input_layernorm.weight": (h,), p + "post_attention_layernorm.weight": (h,),
        }
    mx.random.seed(0)
    weights = {name: (mx.random.normal(shape) * 0.02).astype(dtype) for name, shape in shapes.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    return folder


def llama(**more):
    base = {"model_type": "llama", "rms_norm_eps": 1e-5, "max_position_embeddings": 8192, "tie_word_embeddings": True}
    return base | more


def reference(job):
    out = subprocess.run([sys.executable, "-c", WORKER, json.dumps(job)], capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stderr)
    return json.loads(out.stdout.splitlines()[-1])


def ours(mlxe, model, prompt, tokens, runs, *more):
    args = [mlxe, "bench", "--json", "--model", model, "--dtype", "stored", "--prompt-tokens", prompt,
            "--generate-tokens", tokens, "--runs", runs, *more]
    out = subprocess.run(list(map(str, args)), capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stderr)
    return json.loads(out.stdout)


def row(name, mine, theirs, better):
    a, b = statistics.median(mine), statistics.median(theirs)
    spread = lambda v: f"{min(v):.4g}..{max(v):.4g}"
    print(f"{name:26} mlxe {a:10.4g} ({spread(mine)})   mlx-lm {b:10.4g} ({spread(theirs)})   ratio {a / b:.2f} ({better})")


def toy(mlxe, folder, rounds):
    import mlx.core as mx

    model = write(folder / "toy", llama(hidden_size=64, num_hidden_layers=2, intermediate_size=128, vocab_size=256,
                                        num_attention_heads=4, num_key_value_heads=2), mx.float32)
    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(ours(mlxe, model, 16, 512, 3)["decode_tokens_per_second"])
        theirs.append(reference({"what": "decode", "model": str(model), "prompt": 16, "tokens": 512, "runs": 3})["decode"])
    row("toy decode, tokens/s", mine, theirs, "more is better")


def big(folder):
    import mlx.core as mx

    if (folder / "big").exists():
        return folder / "big"
    # 596 million weights, the size of Qwen3-0.6B: 1.19 GB.
    return write(folder / "big", llama(hidden_size=1024, num_hidden_layers=28, intermediate_size=3584,
                                       vocab_size=151936, num_attention_heads=16, num_key_value_heads=8), mx.bfloat16)


def load(mlxe, folder, rounds):
    model = big(folder)
    size = (model / "model.safetensors").stat().st_size
    (model / "model.safetensors").read_bytes()
    mine, theirs, peak = [], [], []
    for _ in range(rounds):
        out = subprocess.run([mlxe, "load", "--model", str(model), "--events", "--without-tokenizer", "--dtype", "stored"],
                             capture_output=True, text=True)
        if out.returncode:
            sys.exit(out.stderr)
        mine.append(json.loads(out.stdout.splitlines()[-1])["elapsed_seconds"])
        theirs.append(reference({"what": "load", "model": str(model)})["load_seconds"])
    print(f"one file of {size / 1e9:.2f} GB, bf16")
    row("load, s", mine, theirs, "less is better")


def memory(mlxe, folder, rounds):
    model = big(folder)
    size = (model / "model.safetensors").stat().st_size
    prompt, tokens = 64, 8
    kv = 28 * 2 * 8 * 64 * (-(-(prompt + tokens) // 256) * 256) * 2
    out = ours(mlxe, model, prompt, tokens, 1)
    print(f"peak memory: {out['peak_memory_bytes'] / 1e6:.0f} MB for {size / 1e6:.0f} MB of weights and "
          f"{kv / 1e6:.0f} MB of keys and values: ratio {out['peak_memory_bytes'] / (size + kv):.3f}")


CASES = {"toy": toy, "load": load, "memory": memory}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mlxe")
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for case in args.case or CASES:
            CASES[case](args.mlxe, Path(folder), args.rounds)


if __name__ == "__main__":
    main()
