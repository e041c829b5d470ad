"""mlxe beside mlx-lm and llama.cpp on a CPU, on models of real sizes, in one run.

    python benches/engines.py target/release/mlxe [--case qwen3-0.6b-4bit ..] [--threads 2] [--rounds 3] [--keep DIR] [--write]

Random weights of the shapes of Qwen3-0.6B, Llama-3.2-1B and four layers of Qwen3-30B-A3B, 4-bit (groups of 64;
llama.cpp: Q4_0, groups of 32) and bf16. Every round runs each engine once, in turns, so that whatever else the machine
does hits all of them. A 512-token prompt, then 64 decoded tokens; texts mean nothing. mlx-lm on a CPU is so slow that
it gets a short prompt and few tokens. `--write` puts the table and the plot into docs/.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from side_by_side import ours, reference

PROMPT, TOKENS = 512, 64

SHAPES = {
    "qwen3-0.6b": dict(model_type="qwen3", hidden_size=1024, num_hidden_layers=28, num_attention_heads=16,
                       num_key_value_heads=8, head_dim=128, intermediate_size=3072, vocab_size=151936,
                       rope_theta=1e6, rms_norm_eps=1e-6, max_position_embeddings=8192, tie_word_embeddings=True),
    "llama-3.2-1b": dict(model_type="llama", hidden_size=2048, num_hidden_layers=16, num_attention_heads=32,
                         num_key_value_heads=8, head_dim=64, intermediate_size=8192, vocab_size=128256,
                         rope_theta=5e5, rms_norm_eps=1e-5, max_position_embeddings=8192, tie_word_embeddings=True),
    "llama-3.1-8b": dict(model_type="llama", hidden_size=4096, num_hidden_layers=32, num_attention_heads=32,
                         num_key_value_heads=8, head_dim=128, intermediate_size=14336, vocab_size=128256,
                         rope_theta=5e5, rms_norm_eps=1e-5, max_position_embeddings=8192, tie_word_embeddings=False),
    "qwen3-30b-a3b-4l": dict(model_type="qwen3_moe", hidden_size=2048, num_hidden_layers=4, num_attention_heads=32,
                             num_key_value_heads=4, head_dim=128, intermediate_size=6144, moe_intermediate_size=768,
                             num_experts=128, num_experts_per_tok=8, norm_topk_prob=True, decoder_sparse_step=1,
                             mlp_only_layers=[], vocab_size=151936, rope_theta=1e6, rms_norm_eps=1e-6,
                             max_position_embeddings=8192, tie_word_embeddings=False),
}


CPU_CASES = ["qwen3-0.6b-4bit", "qwen3-0.6b-bf16", "llama-3.2-1b-4bit", "qwen3-30b-a3b-4l-4bit"]


def tensors(c):
    """Names and shapes: matrices, then norms."""
    h, d = c["hidden_size"], c["head_dim"]
    q, kv, inner = c["num_attention_heads"] * d, c["num_key_value_heads"] * d, c["intermediate_size"]
    matrices, norms = {"model.embed_tokens": (c["vocab_size"], h)}, {"model.norm": h}
    if not c["tie_word_embeddings"]:
        matrices["lm_head"] = (c["vocab_size"], h)
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        matrices |= {p + "self_attn.q_proj": (q, h), p + "self_attn.k_proj": (kv, h), p + "self_attn.v_proj": (kv, h),
                     p + "self_attn.o_proj": (h, q)}
        if experts := c.get("num_experts"):
            inner, e = c["moe_intermediate_size"], p + "mlp.switch_mlp."
            matrices |= {p + "mlp.gate": (experts, h), e + "gate_proj": (experts, inner, h),
                         e + "up_proj": (experts, inner, h), e + "down_proj": (experts, h, inner)}
        else:
            matrices |= {p + "mlp.gate_proj": (inner, h), p + "mlp.up_proj": (inner, h), p + "mlp.down_proj": (h, inner)}
        norms |= {p + "input_layernorm": h, p + "post_attention_layernorm": h}
        if c["model_type"].startswith("qwen3"):
            norms |= {p + "self_attn.q_norm": d, p + "self_attn.k_norm": d}
    return matrices, norms


def write_mlx(folder, config, bits):
    import mlx.core as mx

    folder.mkdir(parents=True)
    mx.random.seed(0)
    matrices, norms = tensors(config)
    weights = {f"{n}.weight": mx.ones(s).astype(mx.bfloat16) for n, s in norms.items()}
    for name, (*rows, columns) in matrices.items():
        if bits == 16:
            weights[f"{name}.weight"] = mx.random.normal((*rows, columns), mx.bfloat16, scale=0.02)
            mx.eval(weights[f"{name}.weight"])
            continue
        scales = mx.random.uniform(0.003, 0.005, (*rows, columns // 64)).astype(mx.bfloat16)
        weights[f"{name}.weight"] = mx.random.randint(0, 2**32 - 1, (*rows, columns * bits // 32), mx.uint32)
        weights[f"{name}.scales"] = scales
        weights[f"{name}.biases"] = -scales * ((2**bits - 1) / 2)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    extra = {} if bits == 16 else {"quantization": {"group_size": 64, "bits": bits}}
    (folder / "config.json").write_text(json.dumps(config | extra))
    return folder


def write_gguf(path, config, bits):
    import gguf

    arch, c = config["model_type"].replace("_", ""), config
    w = gguf.GGUFWriter(path, arch)
    w.add_block_count(c["num_hidden_layers"])
    w.add_context_length(8192)
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_key_length(c["head_dim"])
    w.add_value_length(c["head_dim"])
    w.add_rope_dimension_count(c["head_dim"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    if "num_experts" in c:
        w.add_expert_count(c["num_experts"])
        w.add_expert_used_count(c["num_experts_per_tok"])
        w.add_expert_feed_forward_length(c["moe_intermediate_size"])
    w.add_vocab_size(c["vocab_size"])
    w.add_tokenizer_model("no_vocab")
    names = {"model.embed_tokens": "token_embd", "lm_head": "output", "model.norm": "output_norm", "self_attn.q_proj": "attn_q",
             "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
             "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp",
             "mlp.switch_mlp.gate_proj": "ffn_gate_exps", "mlp.switch_mlp.up_proj": "ffn_up_exps",
             "mlp.switch_mlp.down_proj": "ffn_down_exps", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm"}

    def renamed(name):
        if not name.startswith("model.layers."):
            return names[name]
        _, _, layer, rest = name.split(".", 3)
        return f"blk.{layer}.{names[rest]}"

    rng = np.random.default_rng(0)
    matrices, norms = tensors(config)
    for name, shape in matrices.items():
        values = rng.standard_normal(shape, dtype=np.float32) * 0.02
        kind = gguf.GGMLQuantizationType.BF16 if bits == 16 else gguf.GGMLQuantizationType.Q4_0
        if name.endswith("mlp.gate"):  # llama.cpp keeps routers in f32
            kind = gguf.GGMLQuantizationType.F32
        w.add_tensor(renamed(name) + ".weight", gguf.quants.quantize(values, kind), raw_dtype=kind)
    for name, size in norms.items():
        w.add_tensor(renamed(name) + ".weight", np.ones(size, np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


LLAMA = r"""
import ctypes, json, resource, sys, time
import llama_cpp as L
job = json.loads(sys.argv[1])
L.llama_log_set(ctypes.cast(None, L.llama_log_callback), None)
L.llama_backend_init()
m = L.llama_model_default_params()
start = time.perf_counter()
model = L.llama_model_load_from_file(job["model"].encode(), m)
load = time.perf_counter() - start
c = L.llama_context_default_params()
c.n_ctx, c.n_batch, c.n_ubatch = 1024, 512, 512
c.n_threads = c.n_threads_batch = job["threads"]
ctx = L.llama_init_from_model(model, c)
def decode(tokens):
    a = (L.llama_token * len(tokens))(*tokens)
    if L.llama_decode(ctx, L.llama_batch_get_one(a, len(tokens))) != 0:
        sys.exit("llama_decode failed")
    L.llama_get_logits_ith(ctx, -1)[0]
prompt = [(i * 7919 + 13) % job["vocab"] for i in range(job["prompt"])]
prefill, rates = [], []
for run in range(job["runs"] + 1):
    L.llama_memory_clear(L.llama_get_memory(ctx), True)
    start = time.perf_counter(); decode(prompt); first = time.perf_counter()
    for i in range(job["tokens"]):
        decode([(i * 31) % job["vocab"]])
    end = time.perf_counter()
    if run:
        prefill.append(len(prompt) / (first - start)); rates.append(job["tokens"] / (end - first))
middle = lambda v: sorted(v)[len(v) // 2]
print(json.dumps({"prefill": middle(prefill), "decode": middle(rates), "load": load,
                  "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""


def llama(model, config, threads, runs):
    job = {"model": str(model), "vocab": config["vocab_size"], "prompt": PROMPT, "tokens": TOKENS, "runs": runs,
           "threads": threads}
    out = subprocess.run([sys.executable, "-c", LLAMA, json.dumps(job)], capture_output=True, text=True)
    if out.returncode:
        sys.exit(out.stderr[-2000:])
    return json.loads(out.stdout.splitlines()[-1])


def measure(mlxe, name, folder, threads, rounds, engines):
    shape, kind = name.rsplit("-", 1)
    config, bits = SHAPES[shape], 4 if kind == "4bit" else 16
    mlx, gguf_file = folder / name, folder / f"{name}.gguf"
    if not mlx.exists():
        write_mlx(mlx, config, bits)
    if "llama.cpp" in engines and not gguf_file.exists():
        write_gguf(gguf_file, config, bits)
    os.environ["MLXE_THREADS"] = str(threads)
    results = {}

    def add(engine, **figures):
        for key, value in figures.items():
            results.setdefault(engine, {}).setdefault(key, []).append(value)

    for round_ in range(rounds):
        out = ours(mlxe, mlx, PROMPT, TOKENS, 2, "--device", "cpu")
        add("mlxe", prefill=out["prefill_tokens_per_second"], decode=out["decode_tokens_per_second"],
            load=out["load_seconds"], peak=out["peak_memory_bytes"])
        if "llama.cpp" in engines:
            out = llama(gguf_file, config, threads, 1)
            add("llama.cpp", prefill=out["prefill"], decode=out["decode"], load=out["load"], peak=out["peak"])
        if "mlx-lm" in engines and round_ == 0:
            prompt, tokens = 8, 4
            out = reference({"what": "decode", "model": str(mlx), "prompt": prompt, "tokens": tokens, "runs": 2})
            add("mlx-lm", prefill=prompt / out["first"], decode=out["decode"], load=out["load_seconds"], peak=out["peak"])
    return results


def table(all_results):
    lines = ["| model | engine | prompt tok/s | decode tok/s | load s | peak MB |", "| --- | --- | --- | --- | --- | --- |"]
    for case, results in all_results.items():
        for engine, figures in results.items():
            cell = lambda key, scale=1, digits=1: (
                f"{statistics.median(figures[key]) * scale:.{digits}f} "
                f"({min(figures[key]) * scale:.{digits}f}..{max(figures[key]) * scale:.{digits}f})")
            peak = f"{statistics.median(figures['peak']) / 1e6:.0f}"
            lines.append(f"| {case} | {engine} | {cell('prefill')} | {cell('decode')} | {cell('load', 1, 2)} | {peak} |")
    return "\n".join(lines)


def ratios(all_results):
    for case, results in all_results.items():
        for engine in results.keys() - {"mlxe"}:
            ratio = {k: statistics.median(results["mlxe"][k]) / statistics.median(results[engine][k])
                     for k in ("prefill", "decode", "load", "peak")}
            print(f"{case}: mlxe / {engine}: " + ", ".join(f"{k} {v:.2f}" for k, v in ratio.items()))


def write_docs(text, all_results, threads):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    root = Path(__file__).resolve().parent.parent / "docs"
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for axis, key, title in zip(axes, ("prefill", "decode"), (f"prompt of {PROMPT}, tokens/s", "decoding, tokens/s")):
        engines = ["mlxe", "llama.cpp", "mlx-lm"]
        for i, engine in enumerate(engines):
            values = [statistics.median(r[engine][key]) if engine in r else 0 for r in all_results.values()]
            axis.bar(np.arange(len(values)) + i * 0.27, values, 0.25, label=engine)
        axis.set_xticks(np.arange(len(all_results)) + 0.27, list(all_results), rotation=20, fontsize=8)
        axis.set_title(title)
        axis.legend(fontsize=8)
    figure.tight_layout()
    (root / "img").mkdir(exist_ok=True)
    figure.savefig(root / "img" / "benchmarks.svg")
    page = root / "benchmarks.md"
    begin, end = "<!-- engines.py begins -->", "<!-- engines.py ends -->"
    old = page.read_text() if page.exists() else f"# Benchmarks\n\n{begin}\n{end}\n"
    cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
    from importlib.metadata import version

    versions = ", ".join(f"{p} {version(p)}" for p in ("mlx", "mlx-lm", "llama-cpp-python"))
    middle = f"{cpu}, {threads} threads; {versions}. Median (least..most) of the rounds.\n\n{text}\n\n" \
             "![The same figures as bars](img/benchmarks.svg)\n"
    page.write_text(old[: old.index(begin) + len(begin)] + "\n" + middle + old[old.index(end):])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mlxe")
    names = [f"{s}-{k}" for s in SHAPES for k in ("4bit", "bf16")]
    parser.add_argument("--case", action="append", choices=names)
    parser.add_argument("--engine", action="append", choices=["llama.cpp", "mlx-lm"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="a folder where models stay, and are found by the next run")
    parser.add_argument("--write", action="store_true", help="docs/benchmarks.md")
    args = parser.parse_args()
    engines = args.engine or ["llama.cpp", "mlx-lm"]
    all_results = {}
    with contextlib.nullcontext(args.keep) if args.keep else tempfile.TemporaryDirectory() as folder:
        for case in args.case or CPU_CASES:
            all_results[case] = measure(args.mlxe, case, Path(folder), args.threads, args.rounds, engines)
    text = table(all_results)
    print(text)
    ratios(all_results)
    if args.write:
        write_docs(text, all_results, args.threads)


if __name__ == "__main__":
    main()
