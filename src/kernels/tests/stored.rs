//! Matrices in every form in which they are stored.

use rand::Rng;
use rand::rngs::SmallRng;

use super::{KINDS, Numbers};
use crate::codes::{E2M1_VALUES, tests::pack};
use crate::{FloatFormat, Kind, Matrix, Values};

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
pub struct Stored {
    pub rows: usize,
    pub columns: usize,
    pub kind: Storage,
    pub exact: Vec<f64>,
}

pub enum Storage {
    Dense(Numbers),
    Affine { bits: u32, group: usize, codes: Vec<u8>, scales: Numbers, biases: Numbers },
    Float { format: FloatFormat, codes: Vec<u8>, scales: Vec<u8> },
}

impl Stored {
    pub fn dense(rng: &mut SmallRng, rows: usize, columns: usize, kind: Kind) -> Stored {
        let values = Numbers::random(rng, kind, rows * columns, 0.05);
        Stored { rows, columns, exact: values.exact(), kind: Storage::Dense(values) }
    }

    pub fn affine(rng: &mut SmallRng, rows: usize, columns: usize, bits: u32, group: usize, kind: Kind) -> Stored {
        let codes: Vec<u32> = (0..rows * columns).map(|_| rng.random_range(0..1 << bits)).collect();
        let scales = Numbers::random(rng, kind, rows * columns / group, 0.02);
        let biases = Numbers::random(rng, kind, rows * columns / group, 0.1);
        let (s, b) = (scales.exact(), biases.exact());
        let exact = codes.iter().enumerate().map(|(i, c)| f64::from(*c) * s[i / group] + b[i / group]).collect();
        let codes = pack(bits as usize, &codes);
        Stored { rows, columns, exact, kind: Storage::Affine { bits, group, codes, scales, biases } }
    }

    pub fn float(rng: &mut SmallRng, rows: usize, columns: usize, format: FloatFormat) -> Stored {
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
                let code = if bits == 4 { f64::from(E2M1_VALUES[c as usize]) } else { e4m3(c as u8) };
                code * if format == FloatFormat::Nvfp4 { e4m3(scale) } else { 2f64.powi(i32::from(scale) - 127) }
            })
            .collect();
        Stored { rows, columns, exact, kind: Storage::Float { format, codes: pack(bits, &codes), scales } }
    }

    pub fn matrix(&self) -> Matrix<'_> {
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
    pub fn product(&self, x: &[f64]) -> (Vec<f64>, f64) {
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

pub fn every_storage(rng: &mut SmallRng, rows: usize, columns: usize) -> Vec<(String, Stored)> {
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
