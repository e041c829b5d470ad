//! Products with weight matrices: `x @ W^T` for one or several matrices over the same input, and what follows them.
//!
//! Few rows of input (decoding) are computed as dot products straight from the packed weights. Many rows (prefill) go
//! block by block: a block of weights is unpacked into a panel that fits the cache and multiplied with all of `x`.

use super::codes::{self, Codes};
use super::floats::{Floats, FloatsMut, Kind, Target};
use super::level::{Level, fma, multiversion};
use super::pool;
use super::tile::{self, Prepared, with_scratch};

/// A weight matrix, `rows x columns`, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub columns: usize,
    /// What is stored.
    pub values: Values<'a>,
}

/// How a matrix is stored.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// As they are.
    Dense(Floats<'a>),
    /// `code * scale + bias`, a scale and a bias for each group of columns.
    Affine {
        /// 2, 3, 4, 5, 6 or 8.
        bits: u32,
        /// 32, 64 or 128 columns; divides `columns`.
        group: usize,
        /// `rows x columns` codes.
        codes: &'a [u8],
        /// `rows x columns / group`
        scales: Floats<'a>,
        /// Like `scales`.
        biases: Floats<'a>,
    },
    /// Codes that are small floating-point numbers, with a scale of eight bits for each group of columns.
    Float {
        /// Of codes and scales.
        format: FloatFormat,
        /// `rows x columns` codes.
        codes: &'a [u8],
        /// `rows x columns / format.group()`
        scales: &'a [u8],
    },
}

/// Formats of codes that are floating-point numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatFormat {
    /// OCP microscaling fp4: E2M1 codes in groups of 32 with a power of two each (exponent plus 127).
    Mxfp4,
    /// OCP microscaling fp8: E4M3 codes, otherwise like [`FloatFormat::Mxfp4`].
    Mxfp8,
    /// NVIDIA's fp4: E2M1 codes in groups of 16 with a scale in E4M3 each.
    Nvfp4,
}

impl FloatFormat {
    /// Columns with one scale.
    pub fn group(self) -> usize {
        match self {
            FloatFormat::Mxfp4 | FloatFormat::Mxfp8 => 32,
            FloatFormat::Nvfp4 => 16,
        }
    }

    fn codes(self) -> Codes {
        match self {
            FloatFormat::Mxfp4 | FloatFormat::Nvfp4 => Codes::E2m1,
            FloatFormat::Mxfp8 => Codes::E4m3,
        }
    }
}

/// The parts of a quantized matrix, whatever its scheme.
#[derive(Clone, Copy)]
pub(super) struct Grouped<'a> {
    pub codes: Codes,
    pub group: usize,
    pub bytes: &'a [u8],
    pub scales: Scales<'a>,
    pub biases: Option<Floats<'a>>,
}

/// Scales of groups.
#[derive(Clone, Copy)]
pub(super) enum Scales<'a> {
    Floats(Floats<'a>),
    Exponents(&'a [u8]),
    E4m3(&'a [u8]),
}

impl Scales<'_> {
    pub fn read(&self, level: Level, from: usize, out: &mut [f32]) {
        match self {
            Scales::Floats(f) => f.slice(from, out.len()).read(level, out),
            Scales::Exponents(e) => {
                for (o, e) in out.iter_mut().zip(&e[from..]) {
                    // 2^(e - 127); the lowest exponent is subnormal in f32.
                    *o = f32::from_bits(if *e == 0 { 0x0040_0000 } else { u32::from(*e) << 23 });
                }
            }
            Scales::E4m3(bytes) => codes::e4m3(level, &bytes[from..from + out.len()], out),
        }
    }
}

impl<'a> Matrix<'a> {
    /// Panics if the parts do not have the sizes that they must have: everything below relies on them.
    pub(super) fn check(&self) {
        let (rows, columns) = (self.rows, self.columns);
        match self.values {
            Values::Dense(values) => assert_eq!(values.len(), rows * columns, "dense matrix"),
            Values::Affine { bits, group, codes, scales, biases } => {
                assert!(matches!(bits, 2..=6 | 8) && matches!(group, 32 | 64 | 128), "{bits} bits, groups of {group}");
                assert_eq!(columns % group, 0, "columns in groups");
                assert_eq!(codes.len(), rows * columns * bits as usize / 8, "codes");
                assert_eq!(scales.len(), rows * columns / group, "scales");
                assert_eq!(biases.len(), scales.len(), "biases");
            }
            Values::Float { format, codes, scales } => {
                // Kernels read 32 codes at a time.
                assert_eq!(columns % 32, 0, "columns in groups");
                assert_eq!(codes.len(), rows * columns * format.codes().bits() / 8, "codes");
                assert_eq!(scales.len(), rows * columns / format.group(), "scales");
            }
        }
    }

    pub(super) fn grouped(&self) -> Option<Grouped<'a>> {
        match self.values {
            Values::Dense(_) => None,
            Values::Affine { bits, group, codes, scales, biases } => Some(Grouped {
                codes: Codes::Integer(bits),
                group,
                bytes: codes,
                scales: Scales::Floats(scales),
                biases: Some(biases),
            }),
            Values::Float { format, codes, scales } => Some(Grouped {
                codes: format.codes(),
                group: format.group(),
                bytes: codes,
                scales: match format {
                    FloatFormat::Mxfp4 | FloatFormat::Mxfp8 => Scales::Exponents(scales),
                    FloatFormat::Nvfp4 => Scales::E4m3(scales),
                },
                biases: None,
            }),
        }
    }

    /// One row as floating-point numbers.
    pub(super) fn row(&self, level: Level, row: usize, out: &mut [f32]) {
        let columns = self.columns;
        let Some(q) = self.grouped() else {
            let Values::Dense(values) = self.values else { unreachable!() };
            return values.slice(row * columns, columns).read(level, out);
        };
        let bytes = columns * q.codes.bits() / 8;
        q.codes.unpack(level, &q.bytes[row * bytes..(row + 1) * bytes], out);
        let groups = columns / q.group;
        with_scratch(2 * groups, |scratch| {
            let (scales, biases) = scratch.split_at_mut(groups);
            q.scales.read(level, row * groups, scales);
            match q.biases {
                Some(b) => b.slice(row * groups, groups).read(level, biases),
                None => biases.fill(0.0),
            }
            scale_groups(level, out, q.group, scales, biases);
        });
    }
}

multiversion! {
    fn scale_groups<const FMA: bool>(values: &mut [f32], group: usize, scales: &[f32], biases: &[f32]) {
        for ((values, &scale), &bias) in values.chunks_exact_mut(group).zip(scales).zip(biases) {
            for v in values {
                *v = fma::<FMA>(*v, scale, bias);
            }
        }
    }
}

/// A matrix of a product, and the bias of its layer.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The weights.
    pub weight: Matrix<'a>,
    /// Added to each row of the result.
    pub bias: Option<Floats<'a>>,
}

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// `x * sigmoid(x)`
    Silu,
    /// `x * Phi(x)` with the normal distribution.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `max(x, 0)`
    Relu,
}

/// What becomes of the products.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// One result a part.
    Store,
    /// One part; its product times the factor is added to these numbers.
    Add(Floats<'a>, f32),
    /// One result a part: `act(product)`.
    Activate(Act),
    /// Two parts, one result: `act(first) * second`.
    Gate(Act),
}

/// Computes `x @ W^T + bias` for every part and stores it as `epilogue` says. `x` has `m` rows.
///
/// # Panics
/// If sizes do not fit each other.
pub fn product(
    level: Level,
    x: Floats<'_>,
    m: usize,
    parts: &[Part<'_>],
    epilogue: Epilogue<'_>,
    out: Vec<FloatsMut<'_>>,
) {
    let k = parts[0].weight.columns;
    assert_eq!(x.len(), m * k, "input");
    for part in parts {
        part.weight.check();
        assert_eq!(part.weight.columns, k, "parts of one input");
        assert!(part.bias.is_none_or(|b| b.len() == part.weight.rows), "bias");
    }
    let targets: Vec<Target> = out.into_iter().map(Target::new).collect();
    // Parts that are computed together.
    let joint = match epilogue {
        Epilogue::Gate(_) => {
            assert!(parts.len() == 2 && targets.len() == 1 && parts[0].weight.rows == parts[1].weight.rows, "gate");
            2
        }
        Epilogue::Add(residual, _) => {
            assert!(parts.len() == 1 && targets.len() == 1 && residual.len() == m * parts[0].weight.rows, "residual");
            1
        }
        Epilogue::Store | Epilogue::Activate(_) => {
            assert_eq!(parts.len(), targets.len(), "results");
            1
        }
    };
    for (target, parts) in targets.iter().zip(parts.chunks(joint)) {
        assert_eq!(target.len(), m * parts[0].weight.rows, "result");
    }
    if m == 0 {
        return;
    }
    let rows: usize = parts.iter().map(|p| p.weight.rows).sum();
    let small = m * k * rows < 1 << 16;
    let threads = if small { 1 } else { pool::threads() };
    let block = tile::block_rows(m, rows / joint, threads);
    let prepared = Prepared::new(level, x, m, parts, threads > 1);

    // Blocks of output features over all parts, as one list of tasks.
    let blocks: Vec<usize> = parts.chunks(joint).map(|p| p[0].weight.rows.div_ceil(block)).collect();
    let task = |index: usize| {
        let (mut group, mut index) = (0, index);
        while index >= blocks[group] {
            index -= blocks[group];
            group += 1;
        }
        let parts = &parts[group * joint..(group + 1) * joint];
        let rows = parts[0].weight.rows;
        let from = index * block;
        let n = block.min(rows - from);
        with_scratch(joint * m * n, |scratch| {
            for (part, tile) in parts.iter().zip(scratch.chunks_exact_mut(m * n)) {
                tile::compute(level, &part.weight, from, n, &prepared, tile);
                if let Some(bias) = part.bias {
                    add_bias(level, tile, bias.slice(from, n));
                }
            }
            let (first, second) = scratch.split_at_mut(m * n);
            match epilogue {
                Epilogue::Gate(act) => gate(level, act, first, second),
                Epilogue::Activate(act) => activate(level, act, first),
                Epilogue::Store | Epilogue::Add(..) => {}
            }
            for (row, values) in first.chunks_exact_mut(n).enumerate() {
                if let Epilogue::Add(residual, factor) = epilogue {
                    add_residual(level, values, residual.slice(row * rows + from, n), factor);
                }
                // SAFETY: each task has its own block of columns.
                unsafe { targets[group].part(row * rows + from, n) }.write(level, values);
            }
        });
    };
    let tasks = blocks.iter().sum();
    if small { (0..tasks).for_each(task) } else { pool::run(tasks, &task) }
}

multiversion! {
    pub(super) fn add_bias<const FMA: bool>(tile: &mut [f32], bias: Floats<'_>) {
        for row in tile.chunks_exact_mut(bias.len()) {
            for (i, v) in row.iter_mut().enumerate() {
                *v += bias.at(i);
            }
        }
    }
}

multiversion! {
    pub(super) fn add_residual<const FMA: bool>(values: &mut [f32], residual: Floats<'_>, factor: f32) {
        match residual {
            Floats::F32(r) => {
                for (v, r) in values.iter_mut().zip(r) {
                    *v = fma::<FMA>(*v, factor, *r);
                }
            }
            Floats::Bf16(r) => {
                for (v, r) in values.iter_mut().zip(r) {
                    *v = fma::<FMA>(*v, factor, r.to_f32());
                }
            }
            Floats::F16(r) => {
                for (v, r) in values.iter_mut().zip(r) {
                    *v = fma::<FMA>(*v, factor, r.to_f32());
                }
            }
        }
    }
}

/// `e^x` to within 2 units in the last place; saturates instead of overflowing. Range reduction by ln 2 and the Taylor
/// polynomial of degree 6 on [-ln2/2, ln2/2].
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    // ln 2 in two parts, so that the first product is exact.
    let r = fma::<FMA>(n, -355.0 / 512.0, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let p = fma::<FMA>(r, 1.0 / 720.0, 1.0 / 120.0);
    let p = fma::<FMA>(p, r, 1.0 / 24.0);
    let p = fma::<FMA>(p, r, 1.0 / 6.0);
    let p = fma::<FMA>(p, r, 0.5);
    let p = fma::<FMA>(p, r, 1.0);
    let p = fma::<FMA>(p, r, 1.0);
    p * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// `tanh(x)` from `e^2x`, by its series where that would cancel.
#[inline(always)]
pub(super) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let e = exp::<FMA>(2.0 * x.clamp(-15.0, 15.0));
    let large = (e - 1.0) / (e + 1.0);
    let s = x * x;
    let small = x * fma::<FMA>(s, fma::<FMA>(s, fma::<FMA>(s, -17.0 / 315.0, 2.0 / 15.0), -1.0 / 3.0), 1.0);
    if x.abs() < 0.15 { small } else { large }
}

/// `1 - erf(x)` for `x >= 0`, to within 2e-7: Abramowitz and Stegun 7.1.26.
#[inline(always)]
fn erfc<const FMA: bool>(x: f32) -> f32 {
    let t = 1.0 / fma::<FMA>(0.327_591_1, x, 1.0);
    let p = fma::<FMA>(t, 1.061_405_4, -1.453_152);
    let p = fma::<FMA>(p, t, 1.421_413_7);
    let p = fma::<FMA>(p, t, -0.284_496_74);
    let p = fma::<FMA>(p, t, 0.254_829_6);
    p * t * exp::<FMA>(-x * x)
}

#[inline(always)]
fn silu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-x))
}

#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    // Of the two tails the one that is small, so that nothing cancels.
    let tail = 0.5 * erfc::<FMA>(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
    x * if x > 0.0 { 1.0 - tail } else { tail }
}

/// Hendrycks and Gimpel 2016, arXiv:1606.08415.
#[inline(always)]
fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    // sqrt(2 / pi)
    let inner = 0.797_884_6 * fma::<FMA>(0.044_715 * x * x, x, x);
    0.5 * x * (1.0 + tanh::<FMA>(inner))
}

multiversion! {
    /// `gate = act(gate) * up`
    pub(super) fn gate<const FMA: bool>(act: Act, gate: &mut [f32], up: &[f32]) {
        let pairs = gate.iter_mut().zip(up);
        match act {
            Act::Silu => pairs.for_each(|(g, u)| *g = silu::<FMA>(*g) * u),
            Act::Gelu => pairs.for_each(|(g, u)| *g = gelu::<FMA>(*g) * u),
            Act::GeluTanh => pairs.for_each(|(g, u)| *g = gelu_tanh::<FMA>(*g) * u),
            Act::Relu => pairs.for_each(|(g, u)| *g = g.max(0.0) * u),
        }
    }
}

multiversion! {
    fn activate<const FMA: bool>(act: Act, values: &mut [f32]) {
        match act {
            Act::Silu => values.iter_mut().for_each(|v| *v = silu::<FMA>(*v)),
            Act::Gelu => values.iter_mut().for_each(|v| *v = gelu::<FMA>(*v)),
            Act::GeluTanh => values.iter_mut().for_each(|v| *v = gelu_tanh::<FMA>(*v)),
            Act::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
        }
    }
}

/// The rows `indices` of a matrix: an embedding.
///
/// # Panics
/// If an index is not a row, or sizes do not fit each other.
pub fn gather_rows(level: Level, table: &Matrix<'_>, indices: &[u32], out: FloatsMut<'_>) {
    table.check();
    assert_eq!(out.len(), indices.len() * table.columns, "result");
    let target = Target::new(out);
    for (i, &index) in indices.iter().enumerate() {
        assert!((index as usize) < table.rows, "row {index} of {}", table.rows);
        with_scratch(table.columns, |row| {
            table.row(level, index as usize, row);
            // SAFETY: one thread.
            unsafe { target.part(i * table.columns, table.columns) }.write(level, row);
        });
    }
}

/// Whether many rows of inputs of this type are multiplied with the matrix in bf16: where the processor can, and where
/// bf16 holds inputs and stored values exactly.
pub(super) fn in_bf16(level: Level, x: Kind, matrix: &Matrix<'_>) -> bool {
    let exact = !matches!(matrix.values, Values::Dense(Floats::F32(_) | Floats::F16(_)));
    matches!(level, Level::Avx512Bf16 | Level::NeonBf16) && x == Kind::Bf16 && exact
}
