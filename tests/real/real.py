"""Two published models in `mlxe` and in mlx-lm: tokens, texts and perplexities.

    python tests/real/real.py target/release/mlxe MODELS [--record docs/conformance.json]

MODELS holds what tests/real/convert.py writes. In float32 logits agree to 1e-4 and greedy tokens up to the first step at
which the reference's two best logits are closer than 1e-3. As stored (bf16, 8 and 4 bits) the perplexity of a paragraph is
within 1 % of the reference's in float32, and with 8 bits and more questions are answered. mlx-lm runs quantized models
dequantized: multiplied as they are, a CPU takes it a second for a token.

The last line is `N passed, M failed`; the exit status is 1 if anything failed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx_lm.utils import dequantize_model, load_model
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fixtures" / "models"))
import checkpoint as ck  # noqa: E402

TOLERANCE, MIN_GAP, MAX_TOKENS, PERPLEXITY = 1e-4, 1e-3, 8, 0.01
PROMPTS = [
    "The lighthouse keeper counted the ships every evening, and that night",
    "def fibonacci(n):\n    if n < 2:\n        return n\n",
    "東京は日本の首都であり、人口は約",
    "Зимой в нашем городе 😀 дети катаются на 123 санках,",
]
PARAGRAPH = (
    "When the river froze, the ferryman put away his boat and opened the small school behind his house. Children came "
    "across the ice from both banks, carrying their own chairs. He taught them to read from old newspapers, to count "
    "with dried beans, and to tell the weather from the colour of the morning sky. In spring, when the ice broke with a "
    "sound like thunder, the lessons ended, the chairs went home, and the boat was painted green again."
)
# What a small model knows, in the form that it was trained on.
KNOWN = {
    "smollm2-135m": [("What is the capital of France?", ["--chat"], "Paris")],
    "gemma3-270m": [("The capital of France is the city of", [], "Paris"), ("Monday, Tuesday, Wednesday,", [], "Thursday")],
}


class Model:
    def __init__(self, binary: Path, folder: Path):
        self.binary, self.folder = binary, folder
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        reference, _ = load_model(folder)
        reference.set_dtype(mx.float32)
        self.reference = dequantize_model(reference)
        self.complaints = []

    def check(self):
        # The reference is slow on a CPU: quantized, one has to do.
        for prompt in PROMPTS if self.folder.name.endswith("bf16") else PROMPTS[-1:]:
            self.agrees(prompt)
        self.perplexity()
        name = self.folder.name.rpartition("-")[0]
        # Four bits are too few for what these know.
        for prompt, options, word in KNOWN[name] if not self.folder.name.endswith("4bit") else []:
            text = self.run("generate", "--prompt", prompt, *options, "--max-tokens", 24, "--temperature", 0)
            if word not in text:
                self.complaints.append(f"{prompt!r} is continued by {text!r}")
        return self.complaints

    def run(self, command, *args) -> str:
        args = [self.binary, command, "--model", self.folder, "--device", "cpu", *args]
        done = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise SystemExit(f"mlxe {command} exited with {done.returncode}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def agrees(self, prompt):
        tokens = self.tokenizer(prompt)["input_ids"]
        want = ck.full_logits(self.reference, tokens)
        f32 = ("--tokens", ",".join(map(str, tokens)), "--dtype", "f32")
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "logits.safetensors"
            self.run("logits", *f32, "--out", out)
            ours = np.array(mx.load(str(out))["logits"])
        if not (error := ck.relative_error(ours, want)) <= TOLERANCE:
            self.complaints.append(f"logits after {prompt!r} differ by {error:.1e}")
        greedy, gaps = ck.greedy(self.reference, tokens, MAX_TOKENS)
        sampling = ("--max-tokens", MAX_TOKENS, "--temperature", 0, "--ignore-eos", "--json")
        ours = json.loads(self.run("generate", *f32, *sampling))["tokens"]
        # By text: the tokenizer is ours then.
        spelled = json.loads(self.run("generate", "--prompt", prompt, "--dtype", "f32", *sampling))["tokens"]
        for step, (a, b, c, gap) in enumerate(zip(ours, spelled, greedy, gaps, strict=True)):
            if gap < MIN_GAP:
                break
            if not a == b == c:
                self.complaints.append(f"token {step} after {prompt!r} is {a} (by text {b}), expected {c}")
                break

    def perplexity(self):
        tokens = self.tokenizer(PARAGRAPH)["input_ids"]
        logits = ck.full_logits(self.reference, tokens)[:-1].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        logprobs = logits[range(len(tokens) - 1), tokens[1:]] - np.log(np.exp(logits).sum(axis=1))
        want = float(np.exp(-logprobs.mean()))
        ours = json.loads(self.run("score", "--tokens", ",".join(map(str, tokens)), "--json"))["perplexity"]
        print(f"{self.folder.name}: perplexity {ours:.3f}, mlx-lm {want:.3f}")
        if abs(ours / want - 1) > PERPLEXITY:
            self.complaints.append(f"perplexity is {ours:.3f}, expected {want:.3f}")


def record(path: Path, passed: list):
    """Puts the models that passed where docs/supported-models.md takes them from."""
    known = json.loads(path.read_text()) if path.exists() else {}
    real = {}
    for folder in passed:
        model_type = json.loads((folder / "config.json").read_text())["model_type"]
        real.setdefault(model_type, []).append(folder.name)
    for model_type, names in real.items():
        known.setdefault(model_type, {})["real"] = names
    path.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path, help="the mlxe executable")
    parser.add_argument("models", type=Path, help="the folder with the models")
    parser.add_argument("--record", type=Path, help="a JSON file for what passed")
    args = parser.parse_args()
    mx.set_default_device(mx.cpu)
    passed, failed = [], 0
    for folder in sorted(p for p in args.models.iterdir() if p.is_dir()):
        complaints = Model(args.binary.resolve(), folder).check()
        if complaints:
            failed += 1
        else:
            passed.append(folder)
        for complaint in complaints:
            print(f"FAIL {folder.name}: {complaint}", flush=True)
    if args.record:
        record(args.record, passed)
    print(f"{len(passed)} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
