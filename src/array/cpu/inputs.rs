//! How weights are laid out among the inputs of an operation.

use std::cell::OnceCell;

use mlx_engine_kernels::{Act, FloatFormat, Floats, Matrix, Values};

use crate::array::fused::terms::activation::Activation;
use crate::array::fused::terms::weight::Weight;
use crate::array::host::{Held, View};
use crate::array::quant::Mode;
use crate::array::{Array, Dtype};
use crate::error::{Error, Result};

/// How a weight is stored.
#[derive(Clone, Copy)]
pub(super) enum Stored {
    Dense,
    Affine { bits: u32, group: usize },
    Float(FloatFormat),
}

/// Whether the kernels know how this is stored.
pub fn supports(weight: &Weight<'_>) -> bool {
    Stored::of(weight).is_some()
}

impl Stored {
    pub fn of(weight: &Weight<'_>) -> Option<Stored> {
        match weight {
            Weight::Dense(w) => matches!(w.dtype(), Dtype::F32 | Dtype::F16 | Dtype::Bf16).then_some(Stored::Dense),
            Weight::Quantized(q) => match q.scheme.mode {
                Mode::Affine => {
                    Some(Stored::Affine { bits: q.scheme.bits as u32, group: q.scheme.group_size as usize })
                }
                Mode::Mxfp4 => Some(Stored::Float(FloatFormat::Mxfp4)),
                Mode::Mxfp8 => Some(Stored::Float(FloatFormat::Mxfp8)),
                Mode::Nvfp4 => (weight.columns() % 32 == 0).then_some(Stored::Float(FloatFormat::Nvfp4)),
            },
        }
    }

    pub fn arrays(self) -> usize {
        match self {
            Stored::Dense => 1,
            Stored::Affine { .. } => 3,
            Stored::Float(_) => 2,
        }
    }

    /// The matrix at `at` and the following inputs.
    pub fn matrix<'a>(self, inputs: &'a Inputs<'_>, at: usize, columns: usize) -> Matrix<'a> {
        let floats = |i: usize| inputs.floats(at + i);
        let rows = inputs.views[at].rows();
        let values = match self {
            Stored::Dense => Values::Dense(floats(0)),
            Stored::Affine { bits, group } => {
                Values::Affine { bits, group, codes: inputs.views[at].bytes(), scales: floats(1), biases: floats(2) }
            }
            Stored::Float(format) => {
                Values::Float { format, codes: inputs.views[at].bytes(), scales: inputs.views[at + 1].bytes() }
            }
        };
        Matrix { rows, columns, values }
    }
}

/// The inputs of an operation, the numbers among them at hand once they are asked for.
pub(super) struct Inputs<'a> {
    views: &'a [View<'a>],
    floats: Vec<OnceCell<Held<'a>>>,
}

impl<'a> Inputs<'a> {
    pub fn new(views: &'a [View<'a>]) -> Inputs<'a> {
        Inputs { views, floats: views.iter().map(|_| OnceCell::new()).collect() }
    }

    /// The numbers of one input.
    pub fn floats(&self, at: usize) -> Floats<'_> {
        self.floats[at].get_or_init(|| self.views[at].floats()).get()
    }
}

/// The type of a sum or product of both.
pub(super) fn promoted(a: Dtype, b: Dtype) -> Dtype {
    if a == b { a } else { Dtype::F32 }
}

/// The type of products with a weight, given the type of the input.
pub(super) fn promoted_by(weight: &Weight<'_>, x: Dtype) -> Dtype {
    let own = match weight {
        Weight::Dense(w) => w.dtype(),
        Weight::Quantized(q) if q.scales.dtype().is_float() => q.scales.dtype(),
        Weight::Quantized(_) => x,
    };
    promoted(x, own)
}

/// An activation as the kernels call it.
pub(super) fn act(activation: Activation) -> Act {
    match activation {
        Activation::Silu => Act::Silu,
        Activation::Gelu => Act::Gelu,
        Activation::GeluTanh => Act::GeluTanh,
        Activation::Relu => Act::Relu,
        Activation::SwigluOai => Act::SwigluOai,
        Activation::ReluSquared => Act::ReluSquared,
    }
}

pub(super) fn unfit(what: &str, shapes: &[&Array]) -> Error {
    let shapes: Vec<String> = shapes.iter().map(|a| format!("{a:?}")).collect();
    Error::mlx(format!("{what}: shapes do not fit: {}", shapes.join(", ")))
}

/// The only result.
pub(super) fn one(mut arrays: Vec<Array>) -> Result<Array> {
    arrays.pop().ok_or_else(|| Error::internal("an operation without a result"))
}
