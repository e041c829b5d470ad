//! Quantized arrays: packed integers with one scale (and bias) per group of the last axis.

use std::ffi::CStr;

use super::device::stream;
use super::error::check;
use super::ops::{call, or_null};
use super::{Array, ArrayVec, Dtype, Out, sys};
use crate::error::Result;

/// A quantization scheme of MLX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `w = scale * q + bias` per group; 2 to 8 bits, groups of 32, 64 or 128.
    Affine,
    /// OCP microscaling fp4: groups of 32 with a power-of-two scale.
    Mxfp4,
    /// OCP microscaling fp8: groups of 32 with a power-of-two scale.
    Mxfp8,
    /// NVIDIA fp4: groups of 16 with an fp8 scale.
    Nvfp4,
}

impl Mode {
    /// The name in `config.json` and in MLX.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Affine => "affine",
            Mode::Mxfp4 => "mxfp4",
            Mode::Mxfp8 => "mxfp8",
            Mode::Nvfp4 => "nvfp4",
        }
    }

    /// The mode of this name.
    pub fn from_name(name: &str) -> Option<Mode> {
        [Mode::Affine, Mode::Mxfp4, Mode::Mxfp8, Mode::Nvfp4].into_iter().find(|m| m.name() == name)
    }

    fn c_name(self) -> &'static CStr {
        match self {
            Mode::Affine => c"affine",
            Mode::Mxfp4 => c"mxfp4",
            Mode::Mxfp8 => c"mxfp8",
            Mode::Nvfp4 => c"nvfp4",
        }
    }
}

/// How a weight is quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// The kind of codes and scales.
    pub mode: Mode,
    /// Bits per element.
    pub bits: i32,
    /// Elements of the last axis that share a scale.
    pub group_size: i32,
}

/// A quantized weight `[.., rows, columns]`.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// Codes, packed into u32: `[.., rows, columns * bits / 32]`.
    pub packed: Array,
    /// `[.., rows, columns / group_size]`
    pub scales: Array,
    /// Like `scales`; only the affine mode has them.
    pub biases: Option<Array>,
    /// The scheme.
    pub scheme: Scheme,
}

fn some(value: i32) -> sys::mlx_optional_int {
    sys::mlx_optional_int { value, has_value: true }
}

impl Quantized {
    /// Quantizes `weight` over its last axis.
    #[track_caller]
    pub fn quantize(weight: &Array, scheme: Scheme) -> Result<Quantized> {
        let mut out = ArrayVec::empty();
        // SAFETY: the handles are valid.
        let rc = unsafe {
            sys::mlx_quantize(
                &mut out.raw,
                weight.raw,
                some(scheme.group_size),
                some(scheme.bits),
                scheme.mode.c_name().as_ptr(),
                or_null(None),
                stream(),
            )
        };
        check(rc, "quantize")?;
        let mut parts = out.into_vec()?.into_iter();
        let mut next = || parts.next();
        match (next(), next(), next()) {
            (Some(packed), Some(scales), biases) => Ok(Quantized { packed, scales, biases, scheme }),
            _ => Err(crate::Error::internal("MLX quantize returned too few arrays")),
        }
    }

    /// The weight as floating-point numbers of the scales' type.
    #[track_caller]
    pub fn dequantize(&self) -> Result<Array> {
        // The microscaling modes keep their scales as bytes; MLX then needs to be told a type.
        let has_value = !self.scales.dtype().is_float();
        let dtype = sys::mlx_optional_dtype { value: Dtype::Bf16.raw(), has_value };
        call!(mlx_dequantize(
            self.packed.raw,
            self.scales.raw,
            or_null(self.biases.as_ref()),
            some(self.scheme.group_size),
            some(self.scheme.bits),
            self.scheme.mode.c_name().as_ptr(),
            or_null(None),
            dtype
        ))
    }

    /// `x @ weight^T`
    #[track_caller]
    pub fn matmul_transposed(&self, x: &Array) -> Result<Array> {
        call!(mlx_quantized_matmul(
            x.raw,
            self.packed.raw,
            self.scales.raw,
            or_null(self.biases.as_ref()),
            true,
            some(self.scheme.group_size),
            some(self.scheme.bits),
            self.scheme.mode.c_name().as_ptr()
        ))
    }

    /// `x @ weight`
    #[track_caller]
    pub fn matmul(&self, x: &Array) -> Result<Array> {
        call!(mlx_quantized_matmul(
            x.raw,
            self.packed.raw,
            self.scales.raw,
            or_null(self.biases.as_ref()),
            false,
            some(self.scheme.group_size),
            some(self.scheme.bits),
            self.scheme.mode.c_name().as_ptr()
        ))
    }

    /// `x[lhs[i]] @ weight[rhs[i]]^T`: the matmuls of a mixture of experts.
    #[track_caller]
    pub fn gather_matmul_transposed(
        &self,
        x: &Array,
        lhs: Option<&Array>,
        rhs: Option<&Array>,
        sorted: bool,
    ) -> Result<Array> {
        call!(mlx_gather_qmm(
            x.raw,
            self.packed.raw,
            self.scales.raw,
            or_null(self.biases.as_ref()),
            or_null(lhs),
            or_null(rhs),
            true,
            some(self.scheme.group_size),
            some(self.scheme.bits),
            self.scheme.mode.c_name().as_ptr(),
            sorted
        ))
    }
}
