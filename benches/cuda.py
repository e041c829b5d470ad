"""mlxe beside mlx-lm on a GPU, in one run: the CUDA table of docs/benchmarks.md.

    python benches/cuda.py target/release/mlxe [--case llama-3.1-8b-4bit ..] [--rounds 2] [--keep DIR]

Random weights of the shapes of real models, a prompt of 512 tokens, 128 decoded tokens; in turns, each round in new processes.
"Sampled" is decoding at temperature 0.7 with top_p 0.95 and top_k 40; "batch" is what eight streams decode together; "first
token" is the time to it in a process that has loaded the model and nothing else, and then once more.
"""

import argparse
import contextlib
import statistics
import tempfile
from pathlib import Path

from engines import SHAPES, write_mlx
from side_by_side import ours, reference

PROMPT, TOKENS = 512, 128
CASES = [f"{shape}-{kind}" for shape in ("qwen3-0.6b", "llama-3.1-8b") for kind in ("4bit", "bf16")]
SAMPLING = '{"temperature": 0.7, "top_p": 0.95, "top_k": 40, "seed": 1}'


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mlxe")
    parser.add_argument("--case", action="append", choices=[f"{s}-{k}" for s in SHAPES for k in ("4bit", "bf16")])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="a folder where models stay, and are found by the next run")
    args = parser.parse_args()
    print("| model | mlxe decode tok/s | mlx-lm | ratio | sampled | batch of 8 (over one) | first token, then, ms | mlx-lm |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with contextlib.nullcontext(args.keep) if args.keep else tempfile.TemporaryDirectory() as folder:
        for case in args.case or CASES:
            shape, kind = case.rsplit("-", 1)
            model = Path(folder) / case
            if not model.exists():
                write_mlx(model, SHAPES[shape], 4 if kind == "4bit" else 16)
            figures = {}
            # The first process on a machine compiles.
            ours(args.mlxe, model, PROMPT, 4, 1, "--sampling", SAMPLING)
            for _ in range(args.rounds):
                theirs = reference({"what": "decode", "model": str(model), "prompt": PROMPT, "tokens": TOKENS, "runs": 3})
                mine = ours(args.mlxe, model, PROMPT, TOKENS, 3)
                sampled = ours(args.mlxe, model, PROMPT, TOKENS, 3, "--sampling", SAMPLING)
                batch = ours(args.mlxe, model, PROMPT, TOKENS, 3, "--batch", 8)
                for name, value in {
                    "decode": mine["decode_tokens_per_second"], "lm": theirs["decode"],
                    "sampled": sampled["decode_tokens_per_second"], "batch": batch["decode_tokens_per_second"],
                    "first": mine["first_call_time_to_first_token_seconds"] * 1e3,
                    "then": mine["time_to_first_token_seconds"] * 1e3,
                    "lm first": theirs["first_call"] * 1e3, "lm then": theirs["first"] * 1e3,
                }.items():
                    figures.setdefault(name, []).append(value)
            all_of = lambda name: ", ".join(f"{v:.0f}" for v in figures[name])
            middle = {name: statistics.median(values) for name, values in figures.items()}
            print(f"| {case} | {all_of('decode')} | {all_of('lm')} | {middle['decode'] / middle['lm']:.1f} | {all_of('sampled')} "
                  f"| {all_of('batch')} ({middle['batch'] / middle['decode']:.1f}) | {middle['first']:.0f}, {middle['then']:.0f} "
                  f"| {middle['lm first']:.0f}, {middle['lm then']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
