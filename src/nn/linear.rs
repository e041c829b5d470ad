//! Linear maps and embeddings, plain or quantized: whichever the checkpoint has.

use super::{Activation, Norm};
use crate::array::fused::{self, Epilogue, Part, Weight};
use crate::array::{Array, concatenate};
use crate::error::{Error, Result};
use crate::weights::{Matrix, Weights};

/// The input of a layer: an array, normalised first if there is a norm.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    x: &'a Array,
    norm: Option<&'a Norm>,
}

impl<'a> Input<'a> {
    /// An array without a norm.
    pub fn plain(x: &'a Array) -> Input<'a> {
        Input { x, norm: None }
    }

    /// An array to be normalised by `norm`.
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
        only(products(Input::plain(x), [self], Epilogue::Store)?)
    }

    /// `residual + scale * forward(x)`
    pub fn forward_add(&self, x: &Array, residual: &Array, scale: Option<f32>) -> Result<Array> {
        only(products(Input::plain(x), [self], Epilogue::Add { residual, scale })?)
    }

    /// `activation(forward(x))`
    pub fn activated(&self, activation: Activation, x: Input) -> Result<Array> {
        only(products(x, [self], Epilogue::Activate(activation))?)
    }

    fn part(&self) -> Part<'_> {
        Part { weight: weight(&self.weight), transposed: self.transposed.as_ref(), bias: self.bias.as_ref() }
    }
}

/// Matmuls over one input, and their epilogue.
fn products<const N: usize>(x: Input<'_>, layers: [&Linear; N], epilogue: Epilogue<'_>) -> Result<Vec<Array>> {
    let parts = layers.map(Linear::part);
    fused::linear(&fused::Linear { x: x.x, norm: x.norm.map(Norm::description), parts: &parts, epilogue })
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

    /// These layers, which have the same inputs.
    pub fn of(layers: [Linear; N]) -> Joint<N> {
        Joint(Form::Parts(layers))
    }

    /// Layers stored as one at `path`.
    pub fn fused(w: &Weights, path: &str, rows: [i32; N], inputs: i32, bias: bool) -> Result<Joint<N>> {
        Joint::split(Linear::load(w, path, inputs, rows.iter().sum(), bias)?, rows)
    }

    /// Layers stored as one at `path`: `count` times `rows` of each. So the rows of a head, or of the heads that share a
    /// key, are beside each other.
    pub fn interleaved(
        w: &Weights,
        path: &str,
        count: i32,
        rows: [i32; N],
        inputs: i32,
        bias: bool,
    ) -> Result<Joint<N>> {
        Joint::reordered(w, path, &|a| gathered(a, count, &rows), rows.map(|n| n * count), inputs, bias)
    }

    fn reordered(
        w: &Weights,
        path: &str,
        order: &dyn Fn(&Array) -> Result<Array>,
        rows: [i32; N],
        inputs: i32,
        bias: bool,
    ) -> Result<Joint<N>> {
        let total = rows.iter().sum();
        let weight = w.matrix_reordered(path, total, inputs, order)?;
        let bias = match bias {
            true => Some(w.derived(&format!("{path}.bias"), &[total], |bias| order(&bias))?),
            false => None,
        };
        Joint::split(Linear::new(weight, bias)?, rows)
    }

    fn split(whole: Linear, rows: [i32; N]) -> Result<Joint<N>> {
        let ends = ends(&rows);
        if !fused::takes_parts(&weight(&whole.weight)) {
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

    /// `x` is `[.., inputs]`; one result per layer.
    pub fn forward(&self, x: Input) -> Result<[Array; N]> {
        let results = match &self.0 {
            Form::Whole(layer, ends) => layer.forward(&x.array()?)?.split_at(ends, -1)?,
            Form::Parts(layers) => products(x, layers.each_ref(), Epilogue::Store)?,
        };
        results.try_into().map_err(|_| Error::internal("products"))
    }
}

impl Joint<2> {
    /// Layers of as many rows, stored as one at `path`, the second before the first.
    pub fn fused_backwards(w: &Weights, path: &str, rows: i32, inputs: i32, bias: bool) -> Result<Joint<2>> {
        let swapped = |a: &Array| concatenate([&a.slice_axis(0, rows, 2 * rows)?, &a.slice_axis(0, 0, rows)?], 0);
        Joint::reordered(w, path, &swapped, [rows; 2], inputs, bias)
    }

    /// `activation(first(x)) * second(x)`
    pub fn gated(&self, activation: Activation, x: Input) -> Result<Array> {
        if let Form::Parts(layers) = &self.0 {
            return only(products(x, layers.each_ref(), Epilogue::Gate(activation))?);
        }
        let [gate, up] = self.forward(x)?;
        activation.gate(&gate, &up)
    }
}

/// The rows of `[count * (a + b + ..), ..]`: all of the first kind, then all of the second, and so on.
fn gathered(a: &Array, count: i32, rows: &[i32]) -> Result<Array> {
    let rest = &a.shape()[1..];
    let of = |rows: i32| [&[count, rows][..], rest].concat();
    let groups = a.reshape(&of(rows.iter().sum()))?;
    let mut from = 0;
    let parts = rows.iter().map(|rows| {
        from += rows;
        groups.slice_axis(1, from - rows, from)?.reshape(&[&[count * rows][..], rest].concat())
    });
    concatenate(&parts.collect::<Result<Vec<_>>>()?, 0)
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

/// A matrix as an operation takes it.
pub(super) fn weight(matrix: &Matrix) -> Weight<'_> {
    match matrix {
        Matrix::Dense(w) => Weight::Dense(w),
        Matrix::Quantized(q) => Weight::Quantized(q),
    }
}

fn only(results: Vec<Array>) -> Result<Array> {
    results.into_iter().next().ok_or_else(|| Error::internal("a product without a result"))
}

/// A table with one row of features per token.
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
        fused::embedding(weight(&self.weight), tokens)
    }

    /// The table used as the output layer: `x @ weight^T`.
    pub fn as_linear(&self, x: &Array) -> Result<Array> {
        let parts = [Part::of(weight(&self.weight))];
        only(fused::linear(&fused::Linear { x, norm: None, parts: &parts, epilogue: Epilogue::Store })?)
    }
}
