//! `softmax(q k^T) v`: a few positions each as if it were alone, many of them block by block.

use super::operands::{Attention, Keys, Over, Visible};
use super::prologue::Prologue;
use super::score::{score, weigh};
use super::softmax::{running_softmax, soft_cap, softmax};
#[cfg(target_arch = "x86_64")]
use crate::avx512 as intrinsics;
use crate::floats::{Bf16, Floats, FloatsMut, Kind, Target};
use crate::gemm::matmul;
use crate::level::Level;
#[cfg(target_arch = "aarch64")]
use crate::neon as intrinsics;
use crate::pool;
use crate::scratch::with_scratch;

/// Positions up to which each is computed as if it were alone.
const FEW: usize = 16;

/// Queries of a task, and keys of a block, when many queries are computed.
const QUERIES: usize = 64;
const BLOCK: usize = 256;

/// `softmax(q k^T) v`; the result is `[batch, length, heads * value_dim]`.
///
/// # Panics
/// If sizes do not fit each other.
pub fn attend(level: Level, over: &Over<'_>, out: FloatsMut<'_>) {
    attend_all(level, std::slice::from_ref(over), out);
}

/// [`attend`] for several, whose results follow one another. Each gets what it would get alone.
///
/// # Panics
/// As above.
pub fn attend_all(level: Level, all: &[Over<'_>], out: FloatsMut<'_>) {
    let target = Target::new(out);
    let angles: Vec<_> =
        all.iter().map(|o| o.attention.rotation.map(|r| r.angles(o.attention.offset, o.attention.length))).collect();
    let (mut contexts, mut at, mut tasks, mut work) = (Vec::with_capacity(all.len()), 0, 0, 0);
    for (o, angles) in all.iter().zip(&angles) {
        let (a, count) = (&o.attention, o.count);
        assert!(a.kv_heads > 0 && a.heads.is_multiple_of(a.kv_heads) && count >= 1, "heads");
        if let Visible::Mask(mask) = a.visible {
            assert_eq!(mask.len(), a.length * count, "mask");
        }
        if let Visible::Causal(_) = a.visible {
            assert!(count >= a.length, "causal attention over fewer keys than queries");
        }
        assert!(a.sinks.is_none_or(|sinks| sinks.len() == a.heads), "sinks");
        let prologue = Prologue { norm: a.norm.as_ref(), angles: angles.as_ref() };
        let (queries, keys, values) = (o.queries, o.keys, o.values);
        contexts.push((tasks, Context { level, a, queries, keys, values, count, prologue, target: &target, at }));
        at += a.batch * a.length * a.heads * a.value_dim;
        tasks += a.batch * a.kv_heads * chunks(a);
        work += a.batch * a.heads * a.length * count * (a.key_dim + a.value_dim);
    }
    assert_eq!(target.len(), at, "result");
    let task = |index: usize| {
        let (first, context) = &contexts[contexts.partition_point(|(first, _)| *first <= index) - 1];
        let (a, index) = (context.a, index - first);
        let chunks = chunks(a);
        let (unit, chunk) = (index / chunks, index % chunks);
        let (b, head) = (unit / a.kv_heads, unit % a.kv_heads);
        if a.length <= FEW { context.one(b, head, chunk) } else { context.many(b, head, chunk * QUERIES) }
    };
    if work < 1 << 16 { (0..tasks).for_each(task) } else { pool::run(tasks, &task) }
}

/// Into how many tasks the positions of one head are divided.
fn chunks(a: &Attention<'_>) -> usize {
    if a.length <= FEW { a.length } else { a.length.div_ceil(QUERIES) }
}

struct Context<'a> {
    level: Level,
    a: &'a Attention<'a>,
    queries: (Floats<'a>, [usize; 3]),
    keys: Keys<'a>,
    values: Keys<'a>,
    count: usize,
    prologue: Prologue<'a>,
    target: &'a Target,
    /// Where the result begins.
    at: usize,
}

impl Context<'_> {
    /// The scaled query heads that share a key head, for `n` positions: `[position][head of the group][key_dim]`.
    fn read_queries(&self, b: usize, kv_head: usize, from: usize, n: usize, out: &mut [f32]) {
        let a = self.a;
        let group = a.heads / a.kv_heads;
        for (r, head) in out.chunks_exact_mut(a.key_dim).take(n * group).enumerate() {
            let (i, h) = (from + r / group, kv_head * group + r % group);
            let (queries, [sb, sl, sh]) = self.queries;
            self.prologue.read(self.level, queries.slice(b * sb + i * sl + h * sh, a.key_dim), i, head);
            for v in head {
                *v *= a.scale;
            }
        }
    }

    fn write(&self, b: usize, kv_head: usize, from: usize, rows: &[f32]) {
        let a = self.a;
        let group = a.heads / a.kv_heads;
        for (r, row) in rows.chunks_exact(a.value_dim).enumerate() {
            let (i, h) = (from + r / group, kv_head * group + r % group);
            let at = self.at + ((b * a.length + i) * a.heads + h) * a.value_dim;
            // SAFETY: every head of every position has its own place.
            unsafe { self.target.part(at, a.value_dim) }.write(self.level, row);
        }
    }

    /// The keys that query `i` may see, as a range; a mask may hide more.
    fn range(&self, i: usize) -> (usize, usize) {
        match self.a.visible {
            Visible::Causal(window) => {
                let end = self.count - self.a.length + i + 1;
                (window.map_or(0, |w| end.saturating_sub(w)), end)
            }
            _ => (0, self.count),
        }
    }

    /// One query position: all scores, then the weighted sum.
    fn one(&self, b: usize, kv_head: usize, query: usize) {
        let (a, level) = (self.a, self.level);
        let group = a.heads / a.kv_heads;
        let (from, end) = self.range(query);
        let n = end - from;
        with_scratch(group * (a.key_dim + n + a.value_dim), |scratch| {
            let (queries, rest) = scratch.split_at_mut(group * a.key_dim);
            let (scores, result) = rest.split_at_mut(group * n);
            self.read_queries(b, kv_head, query, 1, queries);
            match self.keys {
                Keys::Plain(k, [sb, sh, sp]) => {
                    let at = b * sb + kv_head * sh + from * sp;
                    score(level, queries, k.slice(at, (n - 1) * sp + a.key_dim), sp, a.key_dim, scores);
                }
                Keys::Quantized(..) => with_scratch(BLOCK * a.key_dim, |block| {
                    for s in (0..n).step_by(BLOCK) {
                        let here = BLOCK.min(n - s);
                        self.keys.read(level, a, b, kv_head, from + s, here, a.key_dim, block);
                        with_scratch(group * here, |part| {
                            let block = Floats::F32(&block[..here * a.key_dim]);
                            score(level, queries, block, a.key_dim, a.key_dim, part);
                            for (all, part) in scores.chunks_exact_mut(n).zip(part.chunks_exact(here)) {
                                all[s..s + here].copy_from_slice(part);
                            }
                        });
                    }
                }),
            }
            for (g, row) in scores.chunks_exact_mut(n).enumerate() {
                self.cap_and_mask(row, query, from);
                softmax(level, row, self.sink(kv_head * group + g));
            }
            result.fill(0.0);
            match self.values {
                Keys::Plain(v, [sb, sh, sp]) => {
                    let at = b * sb + kv_head * sh + from * sp;
                    weigh(level, scores, v.slice(at, (n - 1) * sp + a.value_dim), sp, a.value_dim, result);
                }
                Keys::Quantized(..) => with_scratch(BLOCK * a.value_dim, |block| {
                    for s in (0..n).step_by(BLOCK) {
                        let here = BLOCK.min(n - s);
                        self.values.read(level, a, b, kv_head, from + s, here, a.value_dim, block);
                        let block = Floats::F32(&block[..here * a.value_dim]);
                        for (row, result) in scores.chunks_exact(n).zip(result.chunks_exact_mut(a.value_dim)) {
                            weigh(level, &row[s..s + here], block, a.value_dim, a.value_dim, result);
                        }
                    }
                }),
            }
            self.write(b, kv_head, query, result);
        });
    }

    /// The score that competes with those of a head's keys.
    fn sink(&self, head: usize) -> f32 {
        self.a.sinks.map_or(f32::NEG_INFINITY, |sinks| sinks[head])
    }

    fn cap_and_mask(&self, scores: &mut [f32], query: usize, from: usize) {
        if let Some(cap) = self.a.softcap {
            soft_cap(self.level, scores, cap);
        }
        if let Visible::Mask(mask) = self.a.visible {
            let mask = &mask[query * self.count + from..][..scores.len()];
            for (s, visible) in scores.iter_mut().zip(mask) {
                if !visible {
                    *s = f32::MIN;
                }
            }
        }
    }

    /// Many query positions: block by block of keys, with a running maximum and sum (Milakov and Gimelshein 2018,
    /// arXiv:1805.02867).
    fn many(&self, b: usize, kv_head: usize, from: usize) {
        let (a, level) = (self.a, self.level);
        let n = QUERIES.min(a.length - from);
        let group = a.heads / a.kv_heads;
        let rows = n * group;
        let (dk, dv) = (a.key_dim, a.value_dim);
        // Where queries, keys and values are in bf16 anyway, so are products.
        let bf16 = self.bf16(b, kv_head);
        let mut rounded = vec![Bf16::ZERO; if bf16.is_some() { rows * dk.max(BLOCK) } else { 0 }];
        with_scratch(rows * (dk + dv + BLOCK + 2) + BLOCK * dk.max(dv), |scratch| {
            let (queries, rest) = scratch.split_at_mut(rows * dk);
            let (result, rest) = rest.split_at_mut(rows * dv);
            let (scores, rest) = rest.split_at_mut(rows * BLOCK);
            let (state, block) = rest.split_at_mut(rows * 2);
            self.read_queries(b, kv_head, from, n, queries);
            result.fill(0.0);
            for s in state.chunks_exact_mut(2) {
                (s[0], s[1]) = (f32::MIN, 0.0);
            }
            let (first, last) = (self.range(from).0, self.range(from + n - 1).1);
            for s in (first..last).step_by(BLOCK) {
                let here = BLOCK.min(last - s);
                match &bf16 {
                    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
                    Some((keys, _, _)) => {
                        FloatsMut::Bf16(&mut rounded[..rows * dk]).write(level, queries);
                        intrinsics::score_bf16(&rounded[..rows * dk], dk, &keys[s * dk..(s + here) * dk], scores);
                    }
                    _ => {
                        self.keys.read(level, a, b, kv_head, s, here, dk, block);
                        matmul((rows, dk, here), queries, (dk, 1), block, (1, dk), scores, here, false);
                    }
                }
                for (r, (row, state)) in
                    scores.chunks_exact_mut(here).zip(state.chunks_exact_mut(2)).take(rows).enumerate()
                {
                    let query = from + r / group;
                    self.cap_and_mask(row, query, s);
                    let (low, high) = self.range(query);
                    let low = low.saturating_sub(s).min(here);
                    let high = high.saturating_sub(s).min(here);
                    row[..low].fill(f32::MIN);
                    row[high.max(low)..].fill(f32::MIN);
                    let factor = running_softmax(level, row, state);
                    if factor != 1.0 {
                        for v in &mut result[r * dv..(r + 1) * dv] {
                            *v *= factor;
                        }
                    }
                }
                match &bf16 {
                    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
                    Some((_, values, stride)) => {
                        FloatsMut::Bf16(&mut rounded[..rows * here]).write(level, &scores[..rows * here]);
                        intrinsics::weigh_bf16(
                            &rounded[..rows * here],
                            here,
                            &values[s * stride..],
                            *stride,
                            dv,
                            result,
                        );
                    }
                    _ => {
                        self.values.read(level, a, b, kv_head, s, here, dv, block);
                        matmul((rows, here, dv), scores, (here, 1), block, (dv, 1), result, dv, true);
                    }
                }
            }
            for (r, (row, state)) in result.chunks_exact_mut(dv).zip(state.chunks_exact(2)).enumerate() {
                let sum = state[1] + (self.sink(kv_head * group + r % group) - state[0]).exp();
                for v in row {
                    *v /= sum;
                }
            }
            self.write(b, kv_head, from, result);
        });
    }

    /// Keys of one head side by side, values and their stride, if products in bf16 are wanted and possible.
    fn bf16(&self, b: usize, head: usize) -> Option<(&[Bf16], &[Bf16], usize)> {
        let (Keys::Plain(Floats::Bf16(k), [kb, kh, kp]), Keys::Plain(Floats::Bf16(v), [vb, vh, vp])) =
            (self.keys, self.values)
        else {
            return None;
        };
        let wanted = matches!(self.level, Level::Avx512Bf16 | Level::NeonBf16) && self.queries.0.kind() == Kind::Bf16;
        (wanted && kp == self.a.key_dim).then(|| {
            let keys = &k[b * kb + head * kh..][..self.count * kp];
            let values = &v[b * vb + head * vh..][..(self.count - 1) * vp + self.a.value_dim];
            (keys, values, vp)
        })
    }
}
