use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::stored::Stored;
use super::{KINDS, Numbers, check};
use crate::{Append, Attention, Keys, Kind, Level, NormParams, Over, Rotation, Visible, attend, attend_all};

/// Attention as the formula has it.
struct Reference {
    batch: usize,
    length: usize,
    heads: usize,
    kv_heads: usize,
    dk: usize,
    dv: usize,
    count: usize,
}

impl Reference {
    /// `q` `[batch][length][heads][dk]`; `k`, `v` `[batch][kv_heads][count][..]`.
    fn run(
        &self,
        q: &[f64],
        k: &[f64],
        v: &[f64],
        scale: f64,
        cap: Option<f64>,
        sinks: Option<&[f32]>,
        sees: &dyn Fn(usize, usize) -> bool,
    ) -> Vec<f64> {
        let mut out = Vec::new();
        for b in 0..self.batch {
            for i in 0..self.length {
                for h in 0..self.heads {
                    let kv = b * self.kv_heads + h / (self.heads / self.kv_heads);
                    let q = &q[((b * self.length + i) * self.heads + h) * self.dk..][..self.dk];
                    let score = |s: usize| {
                        let k = &k[(kv * self.count + s) * self.dk..][..self.dk];
                        let dot = q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>() * scale;
                        cap.map_or(dot, |cap| (dot / cap).tanh() * cap)
                    };
                    let seen: Vec<usize> = (0..self.count).filter(|&s| sees(i, s)).collect();
                    let max = seen.iter().map(|&s| score(s)).fold(f64::MIN, f64::max);
                    let weights: Vec<f64> = seen.iter().map(|&s| (score(s) - max).exp()).collect();
                    let sink = sinks.map_or(0.0, |sinks| (f64::from(sinks[h]) - max).exp());
                    let sum = weights.iter().sum::<f64>() + sink;
                    for d in 0..self.dv {
                        let at = |s: usize| v[(kv * self.count + s) * self.dv + d];
                        out.push(seen.iter().zip(&weights).map(|(&s, w)| w * at(s)).sum::<f64>() / sum);
                    }
                }
            }
        }
        out
    }
}

#[test]
fn attention() {
    let mut rng = SmallRng::seed_from_u64(7);
    let shapes = [
        (1, 1, 4, 2, 64, 64, 1),
        (2, 1, 6, 2, 40, 24, 37),
        (1, 1, 8, 2, 128, 128, 600),
        (2, 9, 4, 4, 16, 16, 9),
        (1, 70, 4, 2, 32, 48, 330),
    ];
    for (batch, length, heads, kv_heads, dk, dv, count) in shapes {
        let reference = Reference { batch, length, heads, kv_heads, dk, dv, count };
        let mask: Vec<bool> = (0..length * count).map(|i| i % count == 0 || rng.random_range(0..3) > 0).collect();
        for kind in KINDS {
            let q = Numbers::random(&mut rng, kind, batch * length * heads * dk, 1.0);
            let k = Numbers::random(&mut rng, kind, batch * kv_heads * count * dk, 1.0);
            let v = Numbers::random(&mut rng, kind, batch * kv_heads * count * dv, 1.0);
            let before = count - length;
            type Sees<'a> = &'a dyn Fn(usize, usize) -> bool;
            let cases: [(Visible, Option<f32>, Sees); 4] = [
                (Visible::All, None, &|_, _| true),
                (Visible::Causal(None), Some(5.0), &|i, s| s <= before + i),
                (Visible::Causal(Some(7)), None, &|i, s| s <= before + i && s + 7 > before + i),
                (Visible::Mask(&mask), None, &|i, s| mask[i * count + s]),
            ];
            let some: Vec<f32> = (0..heads).map(|h| h as f32 - 1.5).collect();
            for (case, (visible, softcap, sees)) in cases.into_iter().enumerate() {
                let scale = 0.2f32;
                let sinks = (case > 1).then_some(&some[..]);
                let cap = softcap.map(f64::from);
                let want = reference.run(&q.exact(), &k.exact(), &v.exact(), scale.into(), cap, sinks, sees);
                let a = Attention {
                    batch,
                    length,
                    heads,
                    kv_heads,
                    key_dim: dk,
                    value_dim: dv,
                    scale,
                    softcap,
                    sinks,
                    norm: None,
                    rotation: None,
                    offset: 0,
                    visible,
                };
                let q_strides = [length * heads * dk, heads * dk, dk];
                for level in Level::available() {
                    let keys = Keys::Plain(k.floats(), [kv_heads * count * dk, count * dk, dk]);
                    let values = Keys::Plain(v.floats(), [kv_heads * count * dv, count * dv, dv]);
                    let mut out = Numbers::zeros(kind, want.len());
                    let over = Over { attention: a, queries: (q.floats(), q_strides), keys, values, count };
                    attend(level, &over, out.floats_mut());
                    let what = format!("{length} of {count} positions, {kind:?}, {visible:?}, {}", level.name());
                    // Where everything is in bf16, queries and weights are rounded to it before they are multiplied.
                    let rounded = kind == Kind::Bf16 && length > 1;
                    check(&out, &want, if rounded { 4e3 } else { 4.0 }, &what[..what.len().min(120)]);
                }
            }
        }
    }
}

/// Sequences of different lengths in one call.
#[test]
fn attention_of_several_is_that_of_each() {
    let mut rng = SmallRng::seed_from_u64(10);
    let (heads, kv_heads, dim) = (4, 2, 64);
    let rotation = Rotation {
        dims: dim,
        interleaved: false,
        frequencies: (0..dim / 2).map(|j| 10f32.powf(-(j as f32))).collect(),
        magnitude: 1.0,
    };
    for kind in KINDS {
        let counts = [1, 37, 600, 2];
        let q = Numbers::random(&mut rng, kind, counts.len() * heads * dim, 1.0);
        let remembered: Vec<[Numbers; 2]> =
            counts.map(|n| [(); 2].map(|()| Numbers::random(&mut rng, kind, kv_heads * n * dim, 1.0))).into();
        let all: Vec<Over> = counts
            .iter()
            .zip(&remembered)
            .enumerate()
            .map(|(i, (&count, [k, v]))| {
                let strides = [kv_heads * count * dim, count * dim, dim];
                let attention = Attention {
                    batch: 1,
                    length: 1,
                    heads,
                    kv_heads,
                    key_dim: dim,
                    value_dim: dim,
                    scale: 0.2,
                    softcap: None,
                    sinks: None,
                    norm: None,
                    rotation: Some(&rotation),
                    offset: count - 1,
                    visible: Visible::Causal(None),
                };
                Over {
                    attention,
                    queries: (q.floats().slice(i * heads * dim, heads * dim), [heads * dim, heads * dim, dim]),
                    keys: Keys::Plain(k.floats(), strides),
                    values: Keys::Plain(v.floats(), strides),
                    count,
                }
            })
            .collect();
        for level in Level::available() {
            let mut together = Numbers::zeros(kind, counts.len() * heads * dim);
            attend_all(level, &all, together.floats_mut());
            let mut alone = Vec::new();
            for over in &all {
                let mut out = Numbers::zeros(kind, heads * dim);
                attend(level, over, out.floats_mut());
                alone.extend(out.exact());
            }
            assert!(together.exact() == alone, "{kind:?}, {}", level.name());
        }
    }
}

/// A few new positions get what they get one after the other.
#[test]
fn attention_of_a_few_positions_is_that_of_each() {
    let mut rng = SmallRng::seed_from_u64(11);
    let (heads, kv_heads, dim, length) = (4, 2, 64, 16);
    let rotation = Rotation {
        dims: dim,
        interleaved: false,
        frequencies: (0..dim / 2).map(|j| 10f32.powf(-(j as f32))).collect(),
        magnitude: 1.0,
    };
    for kind in KINDS {
        for before in [0, 40, 700] {
            let count = before + length;
            let q = Numbers::random(&mut rng, kind, length * heads * dim, 1.0);
            let [k, v] = [(); 2].map(|()| Numbers::random(&mut rng, kind, kv_heads * count * dim, 1.0));
            let over = |at: usize, length: usize| {
                let strides = [kv_heads * count * dim, count * dim, dim];
                let attention = Attention {
                    batch: 1,
                    length,
                    heads,
                    kv_heads,
                    key_dim: dim,
                    value_dim: dim,
                    scale: 0.2,
                    softcap: Some(20.0),
                    sinks: None,
                    norm: None,
                    rotation: Some(&rotation),
                    offset: before + at,
                    visible: Visible::Causal(None),
                };
                let queries = q.floats().slice(at * heads * dim, length * heads * dim);
                Over {
                    attention,
                    queries: (queries, [length * heads * dim, heads * dim, dim]),
                    keys: Keys::Plain(k.floats(), strides),
                    values: Keys::Plain(v.floats(), strides),
                    count: before + at + length,
                }
            };
            for level in Level::available() {
                let mut together = Numbers::zeros(kind, length * heads * dim);
                attend(level, &over(0, length), together.floats_mut());
                let mut each = Vec::new();
                for at in 0..length {
                    let mut out = Numbers::zeros(kind, heads * dim);
                    attend(level, &over(at, 1), out.floats_mut());
                    each.extend(out.exact());
                }
                assert!(together.exact() == each, "{kind:?}, {before} before, {}", level.name());
            }
        }
    }
}

#[test]
fn attention_over_quantized_keys() {
    let mut rng = SmallRng::seed_from_u64(8);
    let (batch, heads, kv_heads, dim, capacity, count) = (2, 4, 2, 64, 300, 280);
    for length in [1, 20] {
        let reference = Reference { batch, length, heads, kv_heads, dk: dim, dv: dim, count };
        let q = Numbers::random(&mut rng, Kind::F32, batch * length * heads * dim, 0.3);
        let k = Stored::affine(&mut rng, batch * kv_heads * capacity, dim, 8, 32, Kind::F32);
        let v = Stored::affine(&mut rng, batch * kv_heads * capacity, dim, 4, 64, Kind::F32);
        let used = |all: &[f64]| -> Vec<f64> {
            all.chunks_exact(capacity * dim).flat_map(|head| head[..count * dim].to_vec()).collect()
        };
        let before = count - length;
        let want =
            reference.run(&q.exact(), &used(&k.exact), &used(&v.exact), 0.125, None, None, &|i, s| s <= before + i);
        let a = Attention {
            batch,
            length,
            heads,
            kv_heads,
            key_dim: dim,
            value_dim: dim,
            scale: 0.125,
            softcap: None,
            sinks: None,
            norm: None,
            rotation: None,
            offset: 0,
            visible: Visible::Causal(None),
        };
        let q_strides = [length * heads * dim, heads * dim, dim];
        for level in Level::available() {
            let mut out = Numbers::zeros(Kind::F32, want.len());
            let (keys, values) = (Keys::Quantized(k.matrix(), capacity), Keys::Quantized(v.matrix(), capacity));
            let over = Over { attention: a, queries: (q.floats(), q_strides), keys, values, count };
            attend(level, &over, out.floats_mut());
            check(&out, &want, 40.0, level.name());
        }
    }
}

/// Norm and rotation of heads on their way into the cache and into attention.
#[test]
fn append_and_rotate() {
    let mut rng = SmallRng::seed_from_u64(9);
    let (batch, length, heads, dim, capacity, at, offset) = (2, 3, 2, 16, 8, 4, 100);
    for interleaved in [false, true] {
        let rotation = Rotation {
            dims: 8,
            interleaved,
            frequencies: (0..4).map(|j| 10f32.powf(-(j as f32))).collect(),
            magnitude: 1.5,
        };
        let x = Numbers::random(&mut rng, Kind::F32, batch * length * heads * dim, 1.0);
        let weight = Numbers::random(&mut rng, Kind::F32, dim, 1.0);
        let mut want = vec![7.0; batch * heads * capacity * dim];
        for (r, head) in x.exact().chunks_exact(dim).enumerate() {
            let (b, i, h) = (r / heads / length, r / heads % length, r % heads);
            let rms = (head.iter().map(|v| v * v).sum::<f64>() / dim as f64 + 1e-6).sqrt();
            let mut y: Vec<f64> = head.iter().zip(weight.exact()).map(|(v, w)| v / rms * w).collect();
            for j in 0..4 {
                let (p, q) = if interleaved { (2 * j, 2 * j + 1) } else { (j, j + 4) };
                let angle = f64::from((offset + i) as f32 * rotation.frequencies[j]);
                let (s, c) = angle.sin_cos();
                (y[p], y[q]) = (1.5 * (y[p] * c - y[q] * s), 1.5 * (y[p] * s + y[q] * c));
            }
            want[((b * heads + h) * capacity + at + i) * dim..][..dim].copy_from_slice(&y);
        }
        let norm = NormParams { center: false, eps: 1e-6, weight: Some(weight.floats()), bias: None };
        for level in Level::available() {
            let mut cache = Numbers::F32(vec![7.0; want.len()]);
            let append = Append {
                new: x.floats(),
                norm: Some(norm),
                rotation: Some(&rotation),
                offset,
                cache: cache.floats_mut(),
                capacity,
                at,
            };
            append.write(level, batch, length, heads, dim);
            check(&cache, &want, 4.0, level.name());
        }
    }
}
