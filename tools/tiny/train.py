"""Trains the tiny Qwen3 model on conversations from generate_data.py (PyTorch).

  python train.py --tokenizer ../../tests/fixtures/tiny-qwen3/tokenizer.json --out OUT_DIR --steps 16500 --eval yes
  python train.py ... --minutes 6        as many steps as fit
  python train.py ... --toy              a few steps on the CPU, to test the script

Writes OUT_DIR/checkpoint-{0,1}.safetensors (float32 master weights, in two parts) and OUT_DIR/train.log.
The last part of the training is quantization-aware: every weight matrix is replaced, in the forward pass,
by what MLX's affine 4-bit quantization with groups of 64 makes of it (scales and biases rounded to bfloat16).
"""
import argparse
import json
import math
import multiprocessing as mp
import os
import random
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

CONFIG = dict(vocab=2048, hidden=256, layers=6, heads=4, kv_heads=2, head_dim=64, inter=704, eps=1e-6, theta=10000.0, context=2048)
GROUP, BITS = 64, 4

# ---------------------------------------------------------------- model (Qwen3, tied embeddings)


def fake_quant(w):
    """MLX's affine quantization of w (float32) and back, gradient straight through."""
    g = w.detach().reshape(-1, GROUP)
    lo, hi = g.amin(1, keepdim=True), g.amax(1, keepdim=True)
    neg = lo.abs() > hi.abs()
    scale = ((hi - lo) / (2**BITS - 1)).clamp_min(1e-7)
    scale = torch.where(neg, scale, -scale)
    edge = torch.where(neg, lo, hi)
    q0 = torch.round(edge / scale)
    ok = q0 != 0
    scale = torch.where(ok, edge / torch.where(ok, q0, torch.ones_like(q0)), scale)
    bias = torch.where(ok, edge, torch.zeros_like(edge))
    q = torch.round((g - bias) / scale).clamp(0, 2**BITS - 1)
    d = (q * scale.bfloat16().float() + bias.bfloat16().float()).reshape(w.shape)
    return w + (d - w).detach()


def rms(x, w, eps):
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps) * w).to(x.dtype)


class Linear(nn.Module):
    def __init__(self, i, o, std):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i) * std)

    def forward(self, x, qat):
        w = fake_quant(self.weight) if qat else self.weight
        return F.linear(x, w.to(x.dtype))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        h, d = c["hidden"], c["head_dim"]
        std = 0.02 * (256 / h) ** 0.5 * 2
        out = std / math.sqrt(2 * c["layers"])
        self.q_proj, self.k_proj = Linear(h, c["heads"] * d, std), Linear(h, c["kv_heads"] * d, std)
        self.v_proj, self.o_proj = Linear(h, c["kv_heads"] * d, std), Linear(c["heads"] * d, h, out)
        self.gate_proj, self.up_proj, self.down_proj = Linear(h, c["inter"], std), Linear(h, c["inter"], std), Linear(c["inter"], h, out)
        self.q_norm, self.k_norm = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))
        self.norm1, self.norm2 = nn.Parameter(torch.ones(h)), nn.Parameter(torch.ones(h))

    def forward(self, x, cos, sin, qat: bool):
        c = self.c
        b, t, _ = x.shape
        y = rms(x, self.norm1, c["eps"])
        q = rms(self.q_proj(y, qat).view(b, t, c["heads"], -1), self.q_norm, c["eps"]).transpose(1, 2)
        k = rms(self.k_proj(y, qat).view(b, t, c["kv_heads"], -1), self.k_norm, c["eps"]).transpose(1, 2)
        v = self.v_proj(y, qat).view(b, t, c["kv_heads"], -1).transpose(1, 2)

        def rope(z):
            z1, z2 = z.float().chunk(2, -1)
            return torch.cat([z1 * cos - z2 * sin, z2 * cos + z1 * sin], -1).to(z.dtype)

        n = c["heads"] // c["kv_heads"]
        k, v = rope(k).repeat_interleave(n, 1), v.repeat_interleave(n, 1)
        a = F.scaled_dot_product_attention(rope(q), k, v, is_causal=True)
        x = x + self.o_proj(a.transpose(1, 2).reshape(b, t, -1), qat)
        y = rms(x, self.norm2, c["eps"])
        return x + self.down_proj(F.silu(self.gate_proj(y, qat)) * self.up_proj(y, qat), qat)


def head_loss(x, norm, w, eps, target, weight):
    y = rms(x, norm, eps)
    logits = F.linear(y, w.to(y.dtype)).float()
    ce = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    right = (logits.argmax(-1) == target).flatten()
    wf = weight.flatten()
    main = wf >= 1.0
    return (ce * wf).sum() / wf.sum(), (right & main).sum(), main.sum()


class Tiny(nn.Module):
    def __init__(self, c, dtype):
        super().__init__()
        self.c, self.dtype = c, dtype
        self.embed = nn.Parameter(torch.randn(c["vocab"], c["hidden"]) * 0.04)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["layers"]))
        self.norm = nn.Parameter(torch.ones(c["hidden"]))
        f = c["theta"] ** (-torch.arange(0, c["head_dim"], 2).float() / c["head_dim"])
        a = torch.outer(torch.arange(c["context"]).float(), f)
        self.register_buffer("cos", a.cos(), persistent=False)
        self.register_buffer("sin", a.sin(), persistent=False)
        self.block_fns = [b for b in self.blocks]
        self.loss_fn = head_loss
        self.fq = fake_quant

    def hidden(self, ids, qat):
        e = self.fq(self.embed) if qat else self.embed
        x = F.embedding(ids, e.to(self.dtype))
        t = ids.shape[1]
        cos, sin = self.cos[:t], self.sin[:t]
        for f in self.block_fns:
            x = f(x, cos, sin, qat)
        return x, e

    def loss(self, ids, target, weight, qat):
        x, e = self.hidden(ids, qat)
        return self.loss_fn(x, self.norm, e, self.c["eps"], target, weight)

    def logits(self, ids, qat):
        x, e = self.hidden(ids, qat)
        return F.linear(rms(x, self.norm, self.c["eps"]), e.to(x.dtype)).float()

    def export(self):
        """State under the names that Qwen3 checkpoints use."""
        out = {"model.embed_tokens.weight": self.embed, "model.norm.weight": self.norm}
        for i, b in enumerate(self.blocks):
            p = f"model.layers.{i}."
            for n in ("q_proj", "k_proj", "v_proj", "o_proj"):
                out[p + f"self_attn.{n}.weight"] = getattr(b, n).weight
            for n in ("q_norm", "k_norm"):
                out[p + f"self_attn.{n}.weight"] = getattr(b, n)
            for n in ("gate_proj", "up_proj", "down_proj"):
                out[p + f"mlp.{n}.weight"] = getattr(b, n).weight
            out[p + "input_layernorm.weight"], out[p + "post_attention_layernorm.weight"] = b.norm1, b.norm2
        return {k: v.detach().float().cpu().contiguous() for k, v in out.items()}

    def import_(self, state):
        with torch.no_grad():
            for k, v in {"model.embed_tokens.weight": self.embed, "model.norm.weight": self.norm}.items():
                v.copy_(state[k])
            for i, b in enumerate(self.blocks):
                p = f"model.layers.{i}."
                for n in ("q_proj", "k_proj", "v_proj", "o_proj"):
                    getattr(b, n).weight.copy_(state[p + f"self_attn.{n}.weight"])
                for n in ("q_norm", "k_norm"):
                    getattr(b, n).copy_(state[p + f"self_attn.{n}.weight"])
                for n in ("gate_proj", "up_proj", "down_proj"):
                    getattr(b, n).weight.copy_(state[p + f"mlp.{n}.weight"])
                b.norm1.copy_(state[p + "input_layernorm.weight"])
                b.norm2.copy_(state[p + "post_attention_layernorm.weight"])


# ---------------------------------------------------------------- data

WEIGHT = np.array([0.05, 1.0, 0.0], dtype=np.float32)  # of other tokens, the assistant's tokens, the switch's tokens
BUCKETS = [64, 128, 256, 512, 1024, 2048]


def encode(tok, texts, sp):
    """-> list of (ids uint16, kind uint8: 1 where the assistant writes the token, 2 in the empty thought that the template writes)."""
    out = []
    for e in tok.encode_batch(texts, add_special_tokens=False):
        ids = np.array(e.ids, dtype=np.uint16)
        w = np.zeros(len(ids), dtype=np.uint8)
        starts = np.flatnonzero(ids == sp["start"])
        ends = np.flatnonzero(ids == sp["end"])
        for s in starts:
            if ids[s + 1] == sp["assistant"]:
                a = s + 3
                if ids[a] == sp["think"]:  # an empty block is the template's; a thought is the assistant's own
                    if ids[a + 2] == sp["/think"]:
                        w[a:a + 4] = 2
                        a += 4
                b = ends[np.searchsorted(ends, s)]
                w[a:b + 1] = 1
        out.append((ids, w))
    return out


def specials(tok):
    one = lambda s: tok.encode(s, add_special_tokens=False).ids[0]
    a = tok.encode("<|im_start|>assistant\n", add_special_tokens=False).ids
    assert len(a) == 3, a
    e = tok.encode("<think>\n\n</think>\n\nA", add_special_tokens=False).tokens
    assert len(e) == 5, e
    return dict(start=a[0], assistant=a[1], end=one("<|im_end|>"), think=one("<think>"), **{"/think": one("</think>")})


def work(a):
    seed, n, path = a
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer
    import generate_data as g
    tok = Tokenizer.from_file(path)
    r = random.Random(seed)
    sp = specials(tok)
    res = encode(tok, [g.render(g.conversation(r)).rstrip("\n") for _ in range(n)], sp)
    res = [x for x in res if len(x[0]) <= BUCKETS[-1]]
    return np.array([len(x[0]) for x in res]), np.concatenate([x[0] for x in res]), np.concatenate([x[1] for x in res])


def batches(ids, w, lens, offs, rng, tokens):
    """Endless batches of one bucket's length each; every conversation once per pass."""
    b = np.searchsorted(BUCKETS, lens)
    while True:
        todo = []
        for k, size in enumerate(BUCKETS):
            idx = rng.permutation(np.flatnonzero(b == k))
            n = max(1, tokens // size)
            todo += [(size, idx[i:i + n]) for i in range(0, len(idx) - n + 1, n)] if len(idx) >= n else []
        for j in rng.permutation(len(todo)):
            size, idx = todo[j]
            x = np.zeros((len(idx), size + 1), dtype=np.int32)
            m = np.zeros((len(idx), size + 1), dtype=np.float32)
            for i, d in enumerate(idx):
                o, l = offs[d], lens[d]
                x[i, :l] = ids[o:o + l]
                m[i, :l] = WEIGHT[w[o:o + l]]
            yield x, m


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--minutes", type=float, default=7)
    ap.add_argument("--steps", type=int, default=0)
    ap.add_argument("--conversations", type=int, default=2_400_000)
    ap.add_argument("--tokens", type=int, default=131072, help="tokens in a batch")
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--qat", type=float, default=0.4, help="share of the steps at the end with quantization")
    ap.add_argument("--seed", type=int, default=20261121)
    ap.add_argument("--resume", default="", help="folder with checkpoint-{0,1}.safetensors")
    ap.add_argument("--eval", default="", help="yes: run the held-out set at the end")
    ap.add_argument("--toy", action="store_true")
    a = ap.parse_args()
    cuda = torch.cuda.is_available()
    dev = "cuda" if cuda else "cpu"
    dtype = torch.bfloat16 if cuda else torch.float32
    if a.toy:
        a.conversations, a.tokens, a.steps = 600, 4096, a.steps or 12
    os.makedirs(a.out, exist_ok=True)
    log = open(a.out + "/train.log", "w")

    def say(*x):
        s = " ".join(str(y) for y in x)
        print(s, flush=True)
        print(s, file=log, flush=True)

    t0 = time.time()
    nw = min(16, os.cpu_count())
    per = max(100, min(5000, a.conversations // nw))
    jobs = [(a.seed * 1000 + i, per, a.tokenizer) for i in range(max(1, a.conversations // per))]
    with mp.get_context("fork").Pool(nw) as pool:
        parts = pool.map(work, jobs, chunksize=1)
    lens = np.concatenate([p[0] for p in parts])
    ids = np.concatenate([p[1] for p in parts])
    w = np.concatenate([p[2] for p in parts])
    del parts
    offs = np.concatenate([[0], np.cumsum(lens)[:-1]])
    say(f"data: {len(lens)} conversations, {len(ids)} tokens, {(w == 1).sum()} of the assistant, {time.time() - t0:.0f} s")

    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    net = Tiny(CONFIG, dtype).to(dev)
    if a.resume:
        from safetensors.torch import load_file
        st = {}
        for i in range(2):
            st.update(load_file(f"{a.resume}/checkpoint-{i}.safetensors"))
        net.import_(st)
    say("parameters", sum(p.numel() for p in net.parameters()), "torch", torch.__version__, torch.cuda.get_device_name() if cuda else "cpu")
    if cuda:
        torch._dynamo.config.cache_size_limit = 64
        net.block_fns = [torch.compile(b, dynamic=False) for b in net.blocks]
        net.loss_fn = torch.compile(head_loss, dynamic=False)
        net.fq = torch.compile(fake_quant, dynamic=False)
    decay = [p for p in net.parameters() if p.ndim == 2]
    plain = [p for p in net.parameters() if p.ndim < 2]
    opt = torch.optim.AdamW([dict(params=decay, weight_decay=0.05), dict(params=plain, weight_decay=0.0)], lr=a.lr, betas=(0.9, 0.95), fused=cuda)

    rng = np.random.default_rng(a.seed)
    gen = batches(ids, w, lens, offs, rng, a.tokens)
    import queue
    import threading
    q = queue.Queue(64)

    def feed():
        for x, m in gen:
            x, m = torch.from_numpy(x), torch.from_numpy(m)
            q.put((x.pin_memory(), m.pin_memory()) if cuda else (x, m))

    threading.Thread(target=feed, daemon=True).start()

    def step(x, m, qat):
        x, m = x.to(dev, non_blocking=True).long(), m.to(dev, non_blocking=True)
        loss, right, n = net.loss(x[:, :-1].contiguous(), x[:, 1:].contiguous(), m[:, 1:].contiguous(), qat)
        loss.backward()
        return loss.detach(), right, n

    # compile every shape first, so that the speed can be measured
    if cuda:
        tc = time.time()
        for size in BUCKETS:
            for qat in (False, True):
                x = torch.randint(0, 2000, (a.tokens // size, size + 1), dtype=torch.int32)
                step(x, torch.ones(x.shape), qat)
        opt.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        say(f"compiled in {time.time() - tc:.0f} s")
    total = a.steps or 10**9
    ts = time.time()
    acc = []
    i = 0
    while i < total:
        if i == 60 and not a.steps:
            ts = time.time()
        if i == 260 and not a.steps:
            if cuda:
                torch.cuda.synchronize()
            sp = (time.time() - ts) / 200
            total = int(a.minutes * 60 / sp)
            say(f"{sp * 1000:.1f} ms a step; steps: {total}")
        f = i / total
        warm = 200 if not a.toy else 3
        lr = a.lr * min(1, (i + 1) / warm) * (0.5 * (1 + math.cos(math.pi * min(1, f))) * 0.99 + 0.01)
        for gg in opt.param_groups:
            gg["lr"] = lr
        qat = f >= 1 - a.qat
        x, m = q.get()
        loss, right, n = step(x, m, qat)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        acc.append((loss, right, n))
        i += 1
        if i % (500 if cuda else 1) == 0 or i == total:
            l = torch.stack([z[0].float() for z in acc]).mean().item()
            rr = sum(z[1].item() for z in acc) / max(1, sum(z[2].item() for z in acc))
            say(f"step {i} lr {lr:.5f} qat {int(qat)} loss {l:.4f} assistant tokens right {100 * rr:.2f}% {time.time() - t0:.0f} s")
            acc = []
        if i % 4000 == 0:
            save(net, a.out)
    save(net, a.out)
    say(f"saved, {time.time() - t0:.0f} s")
    if a.eval:
        evaluate(net, a, dev, say)


def save(net, out):
    from safetensors.torch import save_file
    st = net.export()
    names = sorted(st)
    cut = np.cumsum([st[k].numel() for k in names])
    half = int(np.searchsorted(cut, cut[-1] / 2))
    save_file({k: st[k] for k in names[:half]}, out + "/checkpoint-0.safetensors")
    save_file({k: st[k] for k in names[half:]}, out + "/checkpoint-1.safetensors")


@torch.no_grad()
def evaluate(net, a, dev, say):
    """Teacher-forced: is every token of the last answer the most likely one?"""
    from tokenizers import Tokenizer
    import heldout
    tok = Tokenizer.from_file(a.tokenizer)
    sp = specials(tok)
    res = {}
    wrong = []
    net.block_fns = [b for b in net.blocks]
    net.fq = fake_quant
    for p in net.parameters():
        if p.ndim == 2:
            p.copy_(fake_quant(p))
    for cat, text in heldout.texts():
        ids, w = encode(tok, [text], sp)[0]
        last = np.flatnonzero(ids == sp["start"])[-1]
        w[:last] = 0
        x = torch.tensor(ids.astype(np.int64), device=dev)[None]
        p = net.logits(x[:, :-1], False).argmax(-1)[0].cpu().numpy()
        m = w[1:] == 1
        ok = bool((p[m] == ids[1:][m]).all())
        res.setdefault(cat, []).append(ok)
        if not ok:
            wrong.append(cat + " | " + text[-160:].replace("\n", "⏎") + " || " + tok.decode(list(p[m]), skip_special_tokens=False))
    for k, v in res.items():
        say(f"eval {k}: {sum(v)}/{len(v)}")
    for s in wrong:
        say(s)


if __name__ == "__main__":
    main()
