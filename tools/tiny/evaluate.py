"""Asks the 4-bit model the questions of questions.json, greedily, with mlx-lm.

  python evaluate.py MODEL_DIR                      prints N/N
  python evaluate.py MODEL_DIR --dtype float32      activations and scales cast first (float16, bfloat16)
  python evaluate.py MODEL_DIR --heldout --every 5  the larger held-out set, per category
"""
import argparse
import json
import os
import re
import sys
from collections import Counter

import mlx.core as mx
from mlx_lm import load, stream_generate
from mlx_lm.sample_utils import make_sampler

ap = argparse.ArgumentParser()
ap.add_argument("model")
ap.add_argument("--dtype", default=None)
ap.add_argument("--heldout", action="store_true")
ap.add_argument("--every", type=int, default=1, help="only every N-th of the held-out set")
ap.add_argument("--show", action="store_true")
a = ap.parse_args()
model, tok = load(a.model)
if a.dtype:
    d = getattr(mx, a.dtype)
    model.set_dtype(d)  # leaves the integer codes alone
greedy = make_sampler(temp=0.0)


def answer(prompt, max_tokens):
    text, n, why = "", 0, None
    for r in stream_generate(model, tok, prompt, max_tokens=max_tokens, sampler=greedy):
        text += r.text
        n, why = r.generation_tokens, r.finish_reason
    return text, n, why


def check(text, n, why, e):
    bad = []
    if "exact" in e and text != e["exact"]:
        bad.append(f"expected {e['exact']!r}")
    bad += [f"misses {c!r}" for c in e.get("contains", []) if c not in text]
    if n < e.get("min_tokens", 0):
        bad.append(f"only {n} tokens")
    if why != e.get("finish", why):
        bad.append(f"finished by {why}")
    return bad


good, total = Counter(), Counter()
if a.heldout:
    import heldout
    for cat, text in heldout.texts()[::a.every]:
        head, last = text.rsplit("<|im_start|>assistant\n", 1)
        want = last.removesuffix("<|im_end|>")
        head += "<|im_start|>assistant\n"
        m = re.match(r"<think>\n\n</think>\n\n", want)
        if m:
            head, want = head + m.group(0), want[m.end():]
        got, n, why = answer(tok.encode(head, add_special_tokens=False), 120)
        total[cat] += 1
        good[cat] += got == want
        if got != want:
            print(f"{cat}: {head[-120:]!r}: {got!r}, expected {want!r}")
else:
    for q in json.load(open(os.path.join(a.model, "questions.json"), encoding="utf-8")):
        kw = {} if "enable_thinking" not in q else dict(enable_thinking=q["enable_thinking"])
        prompt = tok.apply_chat_template(q["messages"], tools=q.get("tools"), add_generation_prompt=True, tokenize=False, **kw)
        got, n, why = answer(tok.encode(prompt, add_special_tokens=False), q["max_tokens"])
        bad = check(got, n, why, q["expect"])
        total[q["category"]] += 1
        good[q["category"]] += not bad
        if bad or a.show:
            print(f"{q['id']}: {got!r} {'; '.join(bad)}")
for c in total:
    print(f"{c}: {good[c]}/{total[c]}")
print(f"{sum(good.values())}/{sum(total.values())}")
sys.exit(good != total)
