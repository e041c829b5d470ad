//! Every kernel at every level of this processor against formulas in f64.

use half::{bf16, f16};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::codes::{E2M1, tests::pack};
use super::*;

/// Numbers of a type, and what they are exactly.
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

const KINDS: [Kind; 3] = [Kind::F32, Kind::F16, Kind::Bf16];

/// Whether this usually runs in an emulator (`make test-neon`), which takes a hundred times as long.
const EMULATED: bool = cfg!(all(target_arch = "aarch64", target_os = "linux"));

impl Numbers {
    fn random(rng: &mut SmallRng, kind: Kind, n: usize, scale: f32) -> Numbers {
        let values = (0..n).map(|_| (0..4).map(|_| rng.random_range(-1.0f32..1.0)).sum::<f32>() * scale);
        match kind {
            Kind::F32 => Numbers::F32(values.collect()),
            Kind::F16 => Numbers::F16(values.map(f16::from_f32).collect()),
            Kind::Bf16 => Numbers::Bf16(values.map(bf16::from_f32).collect()),
        }
    }

    fn zeros(kind: Kind, n: usize) -> Numbers {
        match kind {
            Kind::F32 => Numbers::F32(vec![0.0; n]),
            Kind::F16 => Numbers::F16(vec![f16::ZERO; n]),
            Kind::Bf16 => Numbers::Bf16(vec![bf16::ZERO; n]),
        }
    }

    fn floats(&self) -> Floats<'_> {
        match self {
            Numbers::F32(v) => Floats::F32(v),
            Numbers::F16(v) => Floats::F16(F16::slice(v)),
            Numbers::Bf16(v) => Floats::Bf16(Bf16::slice(v)),
        }
    }

    fn floats_mut(&mut self) -> FloatsMut<'_> {
        match self {
            Numbers::F32(v) => FloatsMut::F32(v),
            Numbers::F16(v) => FloatsMut::F16(F16::slice_mut(v)),
            Numbers::Bf16(v) => FloatsMut::Bf16(Bf16::slice_mut(v)),
        }
    }

    fn exact(&self) -> Vec<f64> {
        let floats = self.floats();
        (0..floats.len()).map(|i| f64::from(floats.at(i))).collect()
    }
}

/// Half a unit in the last place, relative.
fn rounding(kind: Kind) -> f64 {
    match kind {
        Kind::F32 => 2f64.powi(-24),
        Kind::F16 => 2f64.powi(-11),
        Kind::Bf16 => 2f64.powi(-8),
    }
}

/// Each value within its rounding, plus what sums in f32 may lose of their scale.
fn check(got: &Numbers, want: &[f64], scale: f64, what: &str) {
    let kind = got.floats().kind();
    for (i, (g, w)) in got.exact().iter().zip(want).enumerate() {
        // Inputs in bf16 may be rounded to 16 bits of the largest of their block.
        let sums = if kind == Kind::Bf16 { 1e-5 } else { 2e-6 };
        let allowed = w.abs() * rounding(kind) * 1.01 + scale * sums + if kind == Kind::F16 { 1e-7 } else { 0.0 };
        assert!((g - w).abs() <= allowed, "{what}: element {i} is {g}, expected {w} +- {allowed:.2e}");
    }
}

/// OCP microscaling formats 1.0, E4M3.
fn e4m3(code: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f64::from(code & 7));
    let magnitude = match exponent {
        0 => mantissa / 8.0 * 2f64.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// A stored matrix and its values.
struct Stored {
    rows: usize,
    columns: usize,
    kind: Storage,
    exact: Vec<f64>,
}

enum Storage {
    Dense(Numbers),
    Affine { bits: u32, group: usize, codes: Vec<u8>, scales: Numbers, biases: Numbers },
    Float { format: FloatFormat, codes: Vec<u8>, scales: Vec<u8> },
}

impl Stored {
    fn dense(rng: &mut SmallRng, rows: usize, columns: usize, kind: Kind) -> Stored {
        let values = Numbers::random(rng, kind, rows * columns, 0.05);
        Stored { rows, columns, exact: values.exact(), kind: Storage::Dense(values) }
    }

    fn affine(rng: &mut SmallRng, rows: usize, columns: usize, bits: u32, group: usize, kind: Kind) -> Stored {
        let codes: Vec<u32> = (0..rows * columns).map(|_| rng.random_range(0..1 << bits)).collect();
        let scales = Numbers::random(rng, kind, rows * columns / group, 0.02);
        let biases = Numbers::random(rng, kind, rows * columns / group, 0.1);
        let (s, b) = (scales.exact(), biases.exact());
        let exact = codes.iter().enumerate().map(|(i, c)| f64::from(*c) * s[i / group] + b[i / group]).collect();
        let codes = pack(bits as usize, &codes);
        Stored { rows, columns, exact, kind: Storage::Affine { bits, group, codes, scales, biases } }
    }

    fn float(rng: &mut SmallRng, rows: usize, columns: usize, format: FloatFormat) -> Stored {
        let (bits, scales) = match format {
            FloatFormat::Mxfp4 => (4, 118..126),
            FloatFormat::Mxfp8 => (8, 112..120),
            FloatFormat::Nvfp4 => (4, 1..40),
        };
        // Not the code that is NaN.
        let codes: Vec<u32> = (0..rows * columns).map(|_| rng.random_range(0..1 << bits) & !0x80).collect();
        let codes: Vec<u32> = codes.into_iter().map(|c| if c == 0x7f { 0xfe } else { c }).collect();
        let scales: Vec<u8> = (0..rows * columns / format.group()).map(|_| rng.random_range(scales.clone())).collect();
        let exact = codes
            .iter()
            .enumerate()
            .map(|(i, &c)| {
                let scale = scales[i / format.group()];
                let code = if bits == 4 { f64::from(E2M1[c as usize]) } else { e4m3(c as u8) };
                code * if format == FloatFormat::Nvfp4 { e4m3(scale) } else { 2f64.powi(i32::from(scale) - 127) }
            })
            .collect();
        Stored { rows, columns, exact, kind: Storage::Float { format, codes: pack(bits, &codes), scales } }
    }

    fn matrix(&self) -> Matrix<'_> {
        let values = match &self.kind {
            Storage::Dense(values) => Values::Dense(values.floats()),
            Storage::Affine { bits, group, codes, scales, biases } => {
                Values::Affine { bits: *bits, group: *group, codes, scales: scales.floats(), biases: biases.floats() }
            }
            Storage::Float { format, codes, scales } => Values::Float { format: *format, codes, scales },
        };
        Matrix { rows: self.rows, columns: self.columns, values }
    }

    /// `x @ W^T`, and the largest sum of magnitudes, to which errors are relative.
    fn product(&self, x: &[f64]) -> (Vec<f64>, f64) {
        let (mut out, mut scale) = (Vec::new(), 0f64);
        for x in x.chunks_exact(self.columns) {
            for row in self.exact.chunks_exact(self.columns) {
                out.push(x.iter().zip(row).map(|(a, b)| a * b).sum());
                scale = scale.max(x.iter().zip(row).map(|(a, b)| (a * b).abs()).sum());
            }
        }
        (out, scale)
    }
}

fn every_storage(rng: &mut SmallRng, rows: usize, columns: usize) -> Vec<(String, Stored)> {
    let mut all = Vec::new();
    for kind in KINDS {
        all.push((format!("{kind:?}"), Stored::dense(rng, rows, columns, kind)));
        for bits in [2, 3, 4, 5, 6, 8] {
            for group in [32, 64, 128].into_iter().filter(|g| columns.is_multiple_of(*g)) {
                let name = format!("{bits} bits, groups of {group}, {kind:?} scales");
                all.push((name, Stored::affine(rng, rows, columns, bits, group, kind)));
            }
        }
    }
    if columns.is_multiple_of(32) {
        for format in [FloatFormat::Mxfp4, FloatFormat::Mxfp8, FloatFormat::Nvfp4] {
            all.push((format!("{format:?}"), Stored::float(rng, rows, columns, format)));
        }
    }
    all
}

#[test]
fn products() {
    let mut rng = SmallRng::seed_from_u64(1);
    for (rows, columns) in [(5, 32), (67, 96), (70, 640), (130, 1152)] {
        for (name, stored) in every_storage(&mut rng, rows, columns) {
            for m in [1, 2, 3, 4, 7, 16, 19] {
                for kind in KINDS {
                    let x = Numbers::random(&mut rng, kind, m * columns, 0.5);
                    let (want, scale) = stored.product(&x.exact());
                    for level in Level::available() {
                        let mut out = Numbers::zeros(kind, m * rows);
                        let part = Part { weight: stored.matrix(), bias: None };
                        product(level, x.floats(), m, &[part], Epilogue::Store, vec![out.floats_mut()]);
                        let what = format!("{name}, {rows} x {columns}, {m} rows of {kind:?}, {}", level.name());
                        check(&out, &want, scale, &what);
                    }
                }
            }
        }
    }
}

/// Sequences that are decoded together get the very numbers that they get alone.
#[test]
fn few_rows_are_each_as_if_alone() {
    let mut rng = SmallRng::seed_from_u64(7);
    for (rows, columns, step) in [(67, 96, 1), (70, 640, 2), (300, 1152, 7)] {
        // In an emulator not every kind.
        let step = if EMULATED { step } else { 1 };
        for (name, stored) in every_storage(&mut rng, rows, columns).into_iter().step_by(step) {
            for kind in KINDS {
                let all = Numbers::random(&mut rng, kind, 16 * columns, 0.5);
                for level in Level::available() {
                    let compute = |from: usize, m: usize| {
                        let mut out = Numbers::zeros(kind, m * rows);
                        let part = Part { weight: stored.matrix(), bias: None };
                        let x = all.floats().slice(from * columns, m * columns);
                        product(level, x, m, &[part, part], Epilogue::Gate(Act::Silu), vec![out.floats_mut()]);
                        out.exact()
                    };
                    let alone: Vec<f64> = (0..16).flat_map(|i| compute(i, 1)).collect();
                    for m in (2..=16).step_by(if EMULATED { 3 } else { 1 }) {
                        let what = || format!("{name}, {rows} x {columns}, {m} rows of {kind:?}, {}", level.name());
                        assert!(compute(0, m) == alone[..m * rows], "{}", what());
                    }
                }
            }
        }
    }
}

/// Odd widths exist only in plain matrices.
#[test]
fn odd_widths() {
    let mut rng = SmallRng::seed_from_u64(2);
    for columns in [1, 7, 33, 99] {
        for kind in KINDS {
            let stored = Stored::dense(&mut rng, 37, columns, kind);
            for m in [1, 4, 9, 17] {
                let x = Numbers::random(&mut rng, kind, m * columns, 0.5);
                let (want, scale) = stored.product(&x.exact());
                for level in Level::available() {
                    let mut out = Numbers::zeros(kind, m * 37);
                    let part = Part { weight: stored.matrix(), bias: None };
                    product(level, x.floats(), m, &[part], Epilogue::Store, vec![out.floats_mut()]);
                    check(&out, &want, scale, &format!("{columns} columns, {m} rows of {kind:?}, {}", level.name()));
                }
            }
        }
    }
}

type Formula = fn(f64) -> f64;
const ACTS: [(Act, Formula); 4] = [
    (Act::Silu, |x| x / (1.0 + (-x).exp())),
    (Act::Gelu, |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt()))),
    (Act::GeluTanh, |x| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())),
    (Act::Relu, |x| x.max(0.0)),
];

/// Abramowitz and Stegun 7.1.6: a series of positive terms.
fn erf(x: f64) -> f64 {
    let (mut sum, mut term) = (x, x);
    for n in 1..400 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    if x.abs() > 6.0 { x.signum() } else { sum * 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() }
}

#[test]
fn several_parts_biases_and_epilogues() {
    let mut rng = SmallRng::seed_from_u64(3);
    let (k, rows) = (256, 300);
    let first = Stored::affine(&mut rng, rows, k, 4, 64, Kind::Bf16);
    let second = Stored::affine(&mut rng, rows, k, 6, 32, Kind::Bf16);
    let third = Stored::dense(&mut rng, 40, k, Kind::F32);
    for kind in KINDS {
        for m in [1, 3, 11, 18] {
            let x = Numbers::random(&mut rng, kind, m * k, 0.2);
            let bias = Numbers::random(&mut rng, kind, rows, 1.0);
            let residual = Numbers::random(&mut rng, kind, m * rows, 1.0);
            let (mut a, scale) = first.product(&x.exact());
            let (b, _) = second.product(&x.exact());
            let (c, _) = third.product(&x.exact());
            for (i, v) in a.iter_mut().enumerate() {
                *v += bias.exact()[i % rows];
            }
            let part = Part { weight: first.matrix(), bias: Some(bias.floats()) };
            let others = [Part { weight: second.matrix(), bias: None }, Part { weight: third.matrix(), bias: None }];
            for level in Level::available() {
                let what = |text: &str| format!("{text}, {m} rows of {kind:?}, {}", level.name());
                let (mut oa, mut ob) = (Numbers::zeros(kind, m * rows), Numbers::zeros(kind, m * rows));
                let mut oc = Numbers::zeros(kind, m * 40);
                let out = vec![oa.floats_mut(), ob.floats_mut(), oc.floats_mut()];
                product(level, x.floats(), m, &[part, others[0], others[1]], Epilogue::Store, out);
                check(&oa, &a, scale, &what("first part"));
                check(&ob, &b, scale, &what("second part"));
                check(&oc, &c, scale, &what("third part"));

                let add = Epilogue::Add(residual.floats(), 0.5);
                product(level, x.floats(), m, &[part], add, vec![oa.floats_mut()]);
                let want: Vec<f64> = a.iter().zip(residual.exact()).map(|(a, r)| a * 0.5 + r).collect();
                check(&oa, &want, scale, &what("residual"));

                for (act, f) in ACTS {
                    product(level, x.floats(), m, &[part], Epilogue::Activate(act), vec![oa.floats_mut()]);
                    let want: Vec<f64> = a.iter().map(|a| f(*a)).collect();
                    check(&oa, &want, scale, &what("activation"));
                    let gate = Epilogue::Gate(act);
                    product(level, x.floats(), m, &[part, others[0]], gate, vec![oa.floats_mut()]);
                    let want: Vec<f64> = a.iter().zip(&b).map(|(a, b)| f(*a) * b).collect();
                    let scale = scale * b.iter().chain(&a).fold(1.0, |s: f64, v| s.max(v.abs()));
                    check(&oa, &want, scale, &what("gate"));
                }
            }
        }
    }
}

/// The claim of `bench.md`: products of 4-bit weights with bf16 inputs lose little beyond the rounding of the result.
#[test]
fn bf16_products_are_as_exact_as_bf16() {
    let mut rng = SmallRng::seed_from_u64(4);
    let (rows, k) = (256, 3072);
    let stored = Stored::affine(&mut rng, rows, k, 4, 64, Kind::Bf16);
    for m in [1, 17] {
        let x = Numbers::random(&mut rng, Kind::Bf16, m * k, 1.0);
        let (want, _) = stored.product(&x.exact());
        let rms = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, n) = values.fold((0.0, 0), |(s, n), v| (s + v * v, n + 1));
            (sum / f64::from(n)).sqrt()
        };
        let unavoidable = rms(&mut want.iter().map(|w| f64::from(bf16::from_f64(*w)) - w));
        for level in Level::available() {
            let mut out = Numbers::zeros(Kind::Bf16, m * rows);
            let part = Part { weight: stored.matrix(), bias: None };
            product(level, x.floats(), m, &[part], Epilogue::Store, vec![out.floats_mut()]);
            let error = rms(&mut out.exact().iter().zip(&want).map(|(g, w)| g - w));
            assert!(error < 1.05 * unavoidable, "{m} rows, {}: {error} against {unavoidable}", level.name());
        }
    }
}

#[test]
fn embedding_rows() {
    let mut rng = SmallRng::seed_from_u64(5);
    for (name, stored) in every_storage(&mut rng, 20, 128) {
        for level in Level::available() {
            let mut out = Numbers::zeros(Kind::F32, 3 * 128);
            gather_rows(level, &stored.matrix(), &[19, 0, 7], out.floats_mut());
            let want: Vec<f64> =
                [19, 0, 7].iter().flat_map(|r| stored.exact[r * 128..(r + 1) * 128].to_vec()).collect();
            check(&out, &want, 1.0, &format!("{name}, {}", level.name()));
        }
    }
}

#[test]
fn norms() {
    let mut rng = SmallRng::seed_from_u64(6);
    for kind in KINDS {
        for size in [1, 20, 64, 1000] {
            let x = Numbers::random(&mut rng, kind, 5 * size, 3.0);
            let (weight, bias) =
                (Numbers::random(&mut rng, kind, size, 1.0), Numbers::random(&mut rng, kind, size, 1.0));
            for center in [false, true] {
                let mut want = Vec::new();
                for row in x.exact().chunks_exact(size) {
                    let n = size as f64;
                    let mean = if center { row.iter().sum::<f64>() / n } else { 0.0 };
                    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                    let factor = 1.0 / (variance + 1e-5).sqrt();
                    want.extend(
                        row.iter().zip(weight.exact()).zip(bias.exact()).map(|((v, w), b)| (v - mean) * factor * w + b),
                    );
                }
                for level in Level::available() {
                    let mut out = Numbers::zeros(kind, 5 * size);
                    let params =
                        NormParams { center, eps: 1e-5, weight: Some(weight.floats()), bias: Some(bias.floats()) };
                    normalize(level, x.floats(), size, &params, out.floats_mut());
                    check(&out, &want, 4.0, &format!("norm of {size} {kind:?}, {}", level.name()));
                }
            }
        }
    }
}

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
                    let sum: f64 = weights.iter().sum();
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
            for (visible, softcap, sees) in cases {
                let scale = 0.2f32;
                let want =
                    reference.run(&q.exact(), &k.exact(), &v.exact(), scale.into(), softcap.map(f64::from), sees);
                let a = Attention {
                    batch,
                    length,
                    heads,
                    kv_heads,
                    key_dim: dk,
                    value_dim: dv,
                    scale,
                    softcap,
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
        let want = reference.run(&q.exact(), &used(&k.exact), &used(&v.exact), 0.125, None, &|i, s| s <= before + i);
        let a = Attention {
            batch,
            length,
            heads,
            kv_heads,
            key_dim: dim,
            value_dim: dim,
            scale: 0.125,
            softcap: None,
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

/// Every row through every chosen expert, by the formulas.
#[test]
fn mixtures_of_experts() {
    let mut rng = SmallRng::seed_from_u64(10);
    let (features, inner) = (128, 128);
    let storages = every_storage(&mut rng, 8, 128);
    for (i, (count, chosen)) in [(1, 1), (5, 2), (24, 8)].into_iter().enumerate() {
        for (name, stored) in storages.iter().skip(i).step_by(2) {
            let group = match stored.kind {
                Storage::Affine { group, .. } => group,
                _ => 32,
            };
            let like = |rng: &mut SmallRng, rows, columns| match &stored.kind {
                Storage::Dense(values) => Stored::dense(rng, rows, columns, values.floats().kind()),
                Storage::Affine { bits, scales, .. } => {
                    Stored::affine(rng, rows, columns, *bits, group, scales.floats().kind())
                }
                Storage::Float { format, .. } => Stored::float(rng, rows, columns, *format),
            };
            let gate = like(&mut rng, count * inner, features);
            let up = like(&mut rng, count * inner, features);
            let down = like(&mut rng, count * features, inner);
            mixture(&mut rng, name, count, chosen, &gate, &up, &down);
        }
    }
}

fn mixture(rng: &mut SmallRng, name: &str, count: usize, chosen: usize, gate: &Stored, up: &Stored, down: &Stored) {
    let (features, inner) = (gate.columns, down.columns);
    // The largest of groups of rows are computed as matrices, the others as dot products.
    let largest = down.exact.iter().fold(0f64, |m, v| m.max(v.abs()));
    for m in [1, 3, 40] {
        for kind in KINDS {
            let softmax = if m == 3 { RouterSoftmax::All } else { RouterSoftmax::Chosen };
            let (act, f) = ACTS[m % 4];
            let x = Numbers::random(rng, kind, m * features, 0.1);
            let logits = Numbers::random(rng, kind, m * count, 2.0);
            let bias = Numbers::random(rng, Kind::F32, count * inner, 0.1);
            let residual = Numbers::random(rng, kind, m * features, 1.0);
            let (biases, mut want, mut scale) = (bias.exact(), residual.exact(), 1f64);
            for (row, (x, logits)) in
                x.exact().chunks_exact(features).zip(logits.exact().chunks_exact(count)).enumerate()
            {
                let mut order: Vec<usize> = (0..count).collect();
                order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
                let among = if softmax == RouterSoftmax::All { count } else { chosen };
                let sum: f64 = order[..among].iter().map(|&e| logits[e].exp()).sum();
                let y = &mut want[row * features..][..features];
                for &e in &order[..chosen] {
                    let dot = |w: &Stored, row: usize, x: &[f64]| -> f64 {
                        w.exact[row * x.len()..][..x.len()].iter().zip(x).map(|(w, x)| w * x).sum()
                    };
                    let hidden: Vec<f64> = (0..inner)
                        .map(|i| {
                            let i = e * inner + i;
                            let h = f(dot(gate, i, x) + biases[i]) * dot(up, i, x);
                            // As the kernel keeps it.
                            match kind {
                                Kind::F32 => h,
                                Kind::F16 => f64::from(f16::from_f64(h)),
                                Kind::Bf16 => f64::from(bf16::from_f64(h)),
                            }
                        })
                        .collect();
                    for (i, y) in y.iter_mut().enumerate() {
                        *y += 0.5 * logits[e].exp() / sum * dot(down, e * features + i, &hidden);
                    }
                    scale = scale.max(hidden.iter().map(|h| h.abs()).sum::<f64>() * largest);
                }
            }
            // A rounding to the other side in between is larger than what sums lose.
            let scale = scale * if kind == Kind::F32 { 4.0 } else { 40.0 };
            for level in Level::available() {
                let mut out = Numbers::zeros(kind, m * features);
                let experts = Experts {
                    count,
                    gate: Part { weight: gate.matrix(), bias: Some(bias.floats()) },
                    up: Part { weight: up.matrix(), bias: None },
                    down: Part { weight: down.matrix(), bias: None },
                    act,
                };
                let routing = Routing { logits: logits.floats(), chosen, softmax };
                let onto = Some((residual.floats(), 0.5));
                mix(level, x.floats(), m, &experts, &routing, onto, out.floats_mut());
                let what = format!("{name}, {chosen} of {count}, {m} rows of {kind:?}, {}", level.name());
                check(&out, &want, scale, &what);
            }
        }
    }
}
