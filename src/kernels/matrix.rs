//! Weight matrices as they are stored: dense, or codes with scales for groups of columns.

use super::codes::{self, Codes};
use super::floats::Floats;
use super::level::{Level, fma, multiversion};
use super::scratch::with_scratch;

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

/// A matrix of a product, and the bias of its layer.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The weights.
    pub weight: Matrix<'a>,
    /// Added to each row of the result.
    pub bias: Option<Floats<'a>>,
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
