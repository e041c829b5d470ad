//! Linear maps and embeddings, plain or quantized: whichever the checkpoint has.

use super::{Activation, Norm};
use crate::array::cpu::{self, Then};
use crate::array::cuda;
use crate::array::quant::Quantized;
use crate::array::{Array, Dtype};
use crate::error::{Error, Result};
use crate::weights::{Matrix, Weights};

/// What a layer reads: an array, normalised first where there is a norm.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    x: &'a Array,
    norm: Option<&'a Norm>,
}

impl<'a> Input<'a> {
    /// An array as it is.
    pub fn plain(x: &'a Array) -> Input<'a> {
        Input { x, norm: None }
    }

    /// What `norm` makes of an array.
    pub fn normed(x: &'a Array, norm: &'a Norm) -> Input<'a> {
        Input { x, norm: Some(norm) }
    }

    /// The array to read.
    pub fn array(&self) -> Result<Array> {
        self.norm.map_or_else(|| Ok(self.x.clone()), |norm| norm.forward(self.x))
    }
}

/// `x @ weight^T + bias`
pub struct Linear {
    weight: Matrix,
    /// A plain weight, transposed once: a view of the same memory, so that no step has to make it again.
    transposed: Option<Array>,
    bias: Option<Array>,
}

impl Linear {
    /// The layer at `path`, from `inputs` to `outputs` features.
    pub fn load(w: &Weights, path: &str, inputs: i32, outputs: i32, bias: bool) -> Result<Linear> {
        let weight = w.matrix(path, outputs, inputs)?;
        let bias = if bias { Some(w.tensor(&format!("{path}.bias"), &[outputs])?) } else { None };
        Linear::new(weight, bias)
    }

    pub(super) fn new(weight: Matrix, bias: Option<Array>) -> Result<Linear> {
        let transposed = match &weight {
            Matrix::Dense(weight) => Some(weight.transpose()?),
            Matrix::Quantized(_) => None,
        };
        Ok(Linear { weight, transposed, bias })
    }

    /// `x` is `[.., inputs]`; the result `[.., outputs]`.
    pub fn forward(&self, x: &Array) -> Result<Array> {
        if let Some(results) = fused(Input::plain(x), [self], Then::Store) {
            return only(results?);
        }
        let y = match (&self.weight, &self.transposed) {
            (_, Some(transposed)) => x.matmul(transposed)?,
            (weight, None) => matmul_transposed(weight, x)?,
        };
        match &self.bias {
            Some(bias) => y + bias,
            None => Ok(y),
        }
    }

    /// `residual + factor * forward(x)`
    pub fn forward_add(&self, x: &Array, residual: &Array, factor: Option<f32>) -> Result<Array> {
        if let Some(results) = fused(Input::plain(x), [self], Then::Add(residual, factor.unwrap_or(1.0))) {
            return only(results?);
        }
        let y = self.forward(x)?;
        match factor {
            Some(factor) => residual + (y * factor),
            None => residual + y,
        }
    }

    /// `activation(forward(x))`
    pub fn activated(&self, activation: Activation, x: Input) -> Result<Array> {
        match fused(x, [self], Then::Activate(activation.kernel())) {
            Some(results) => only(results?),
            None => activation.apply(&self.forward(&x.array()?)?),
        }
    }

    fn part(&self) -> (cpu::Weight<'_>, Option<&Array>) {
        (part(&self.weight), self.bias.as_ref())
    }

    /// Whether there are kernels that take it as one part of several.
    fn has_kernel(&self) -> bool {
        let weight = part(&self.weight);
        (cpu::active() && weight.is_supported()) || cuda::supports(&weight)
    }
}

/// Products over one input, and what follows them, as one operation; `None` where there is no kernel for that.
fn fused<'a, const N: usize>(x: Input<'a>, layers: [&'a Linear; N], then: Then<'a>) -> Option<Result<Vec<Array>>> {
    let parts = layers.map(Linear::part);
    if cpu::active() {
        let known = parts.iter().all(|(weight, _)| weight.is_supported());
        return known.then(|| cpu::linear(&x.array()?, &parts, then));
    }
    if !cuda::active() {
        return None;
    }
    match x.norm.map(Norm::rms) {
        None => cuda::linear(x.x, None, &parts, &then),
        Some(Some(norm)) => cuda::linear(x.x, Some(norm), &parts, &then),
        // Another norm: an operation of its own.
        Some(None) => match x.array() {
            Ok(x) => cuda::linear(&x, None, &parts, &then),
            Err(e) => Some(Err(e)),
        },
    }
}

/// `N` linear maps of the same input, which our kernels take as parts of one operation.
///
/// For MLX's own operations on a GPU, matrices that are stored one by one stay so: joined into one when loading, they decoded 5 % slower on an H200
/// (Llama-3.1-8B, 4 bits), and no faster in a small model.
pub struct Joint<const N: usize>(Form<N>);

enum Form<const N: usize> {
    /// One matrix, and where its rows are split.
    Whole(Linear, Vec<i32>),
    Parts([Linear; N]),
}

impl<const N: usize> Joint<N> {
    /// Layers stored one by one, each with its path and its output features.
    pub fn separate(w: &Weights, parts: [(String, i32); N], inputs: i32, bias: bool) -> Result<Joint<N>> {
        let layers = parts.iter().map(|(path, rows)| Linear::load(w, path, inputs, *rows, bias));
        Joint::parts(layers.collect::<Result<_>>()?)
    }

    /// Layers stored as one at `path`.
    pub fn fused(w: &Weights, path: &str, rows: [i32; N], inputs: i32, bias: bool) -> Result<Joint<N>> {
        let whole = Linear::load(w, path, inputs, rows.iter().sum(), bias)?;
        let ends = ends(&rows);
        if !whole.has_kernel() {
            return Ok(Joint(Form::Whole(whole, ends)));
        }
        let mut from = 0;
        let mut layers = Vec::with_capacity(N);
        for (i, rows) in rows.into_iter().enumerate() {
            let to = ends.get(i).copied().unwrap_or(from + rows);
            let bias = whole.bias.as_ref().map(|b| b.slice_axis(0, from, to)).transpose()?;
            layers.push(Linear::new(whole.weight.rows(from, to)?, bias)?);
            from = to;
        }
        Joint::parts(layers)
    }

    fn parts(layers: Vec<Linear>) -> Result<Joint<N>> {
        Ok(Joint(Form::Parts(layers.try_into().map_err(|_| Error::internal("layers"))?)))
    }

    /// `x` is `[.., inputs]`; one result a layer.
    pub fn forward(&self, x: Input) -> Result<[Array; N]> {
        let results = match &self.0 {
            Form::Whole(layer, ends) => layer.forward(&x.array()?)?.split_at(ends, -1)?,
            Form::Parts(layers) => match fused(x, layers.each_ref(), Then::Store) {
                Some(results) => results?,
                None => {
                    let x = x.array()?;
                    layers.iter().map(|l| l.forward(&x)).collect::<Result<_>>()?
                }
            },
        };
        results.try_into().map_err(|_| Error::internal("products"))
    }
}

impl Joint<2> {
    /// `activation(first(x)) * second(x)`
    pub fn gated(&self, activation: Activation, x: Input) -> Result<Array> {
        if let Form::Parts(layers) = &self.0
            && let Some(results) = fused(x, layers.each_ref(), Then::Gate(activation.kernel()))
        {
            return only(results?);
        }
        let [gate, up] = self.forward(x)?;
        activation.apply(&gate)? * up
    }
}

/// Where each but the last of consecutive pieces ends.
fn ends(sizes: &[i32]) -> Vec<i32> {
    let mut end = 0;
    sizes[..sizes.len() - 1]
        .iter()
        .map(|size| {
            end += size;
            end
        })
        .collect()
}

/// A weight as the kernels take it.
pub(super) fn part(weight: &Matrix) -> cpu::Weight<'_> {
    match weight {
        Matrix::Dense(w) => cpu::Weight::Dense(w),
        Matrix::Quantized(q) => cpu::Weight::Quantized(q),
    }
}

fn only(results: Vec<Array>) -> Result<Array> {
    results.into_iter().next().ok_or_else(|| Error::internal("a product without a result"))
}

fn matmul_transposed(weight: &Matrix, x: &Array) -> Result<Array> {
    match weight {
        Matrix::Dense(weight) => x.matmul(&weight.transpose()?),
        Matrix::Quantized(weight) => weight.matmul_transposed(x),
    }
}

/// A table with one row of features a token.
pub struct Embedding {
    weight: Matrix,
}

impl Embedding {
    /// The table at `path`: `rows` tokens of `features`.
    pub fn load(w: &Weights, path: &str, rows: i32, features: i32) -> Result<Embedding> {
        Ok(Embedding { weight: w.matrix(path, rows, features)? })
    }

    /// The rows of `tokens` (u32, any shape): `[.., features]`.
    pub fn forward(&self, tokens: &Array) -> Result<Array> {
        let table = part(&self.weight);
        if cpu::active() && table.is_supported() {
            return cpu::embedding(table, tokens, self.dtype());
        }
        match &self.weight {
            Matrix::Dense(weight) => weight.take(tokens, 0),
            Matrix::Quantized(q) => {
                let rows = |a: &Array| a.take(tokens, 0);
                Quantized {
                    packed: rows(&q.packed)?,
                    scales: rows(&q.scales)?,
                    biases: q.biases.as_ref().map(rows).transpose()?,
                    scheme: q.scheme,
                }
                .dequantize()
            }
        }
    }

    /// The type of its rows.
    fn dtype(&self) -> Dtype {
        match &self.weight {
            Matrix::Dense(weight) => weight.dtype(),
            Matrix::Quantized(q) if q.scales.dtype().is_float() => q.scales.dtype(),
            Matrix::Quantized(_) => Dtype::Bf16,
        }
    }

    /// The table used as the output layer: `x @ weight^T`.
    pub fn as_linear(&self, x: &Array) -> Result<Array> {
        let weight = part(&self.weight);
        if cpu::active() && weight.is_supported() {
            return only(cpu::linear(x, &[(weight, None)], Then::Store)?);
        }
        if let Some(results) = cuda::linear(x, None, &[(weight, None)], &Then::Store) {
            return only(results?);
        }
        matmul_transposed(&self.weight, x)
    }
}
