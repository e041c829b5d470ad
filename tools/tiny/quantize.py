"""Turns train.py's float32 checkpoint into an MLX 4-bit model directory.

  python quantize.py CHECKPOINT_DIR MODEL_DIR [--scales bfloat16|float16|float32]

MODEL_DIR must hold config.json already. Every matrix is quantized with mx.quantize (affine, 4 bits,
groups of 64); scales, biases and the norms are stored in the given type.
"""
import argparse
import json
import os

import mlx.core as mx

ap = argparse.ArgumentParser()
ap.add_argument("checkpoint")
ap.add_argument("model")
ap.add_argument("--scales", default="bfloat16")
a = ap.parse_args()
dtype = getattr(mx, a.scales)
c = json.load(open(f"{a.model}/config.json"))
q = c["quantization"]
state = {}
for i in range(2):
    state.update(mx.load(f"{a.checkpoint}/checkpoint-{i}.safetensors"))
out, n = {}, 0
for k, w in state.items():
    n += w.size
    if w.ndim == 2:
        codes, s, b = mx.quantize(w, q["group_size"], q["bits"])
        base = k.removesuffix(".weight")
        out[k] = codes
        out[base + ".scales"], out[base + ".biases"] = s.astype(dtype), b.astype(dtype)
    else:
        out[k] = w.astype(dtype)
out = dict(sorted(out.items()))
path = f"{a.model}/model.safetensors"
mx.save_safetensors(path, out, metadata={"format": "mlx"})
print(n, "parameters,", os.path.getsize(path), "bytes")
