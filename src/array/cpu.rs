//! Fused operations for the CPU, done by the kernels of `src/kernels`.
//!
//! Only for threads that compute on the CPU of a host that is not Apple's: [`active`] says so. Everything is
//! accumulated in f32. Shapes are checked here, so that a mistake is an error and not a panic in a kernel.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use mlx_engine_kernels::{Act, Rotation, RouterSoftmax, pool};
use mlx_engine_kernels::{
    Append, Attention, Epilogue, Experts, FloatFormat, Keys, Level, Matrix, NormParams, Over, Part, Routing, Values,
    Visible, argmax as argmax_of_rows, attend, attend_all, gather_rows, mix, normalize, product,
};

use super::fast::Mask;
use super::host::{self, Held, View};
use super::quant::{Mode, Quantized};
use super::{Array, Dtype, cuda};
use crate::error::{Error, Result};

/// Whether operations of this thread run through these kernels.
#[inline]
pub fn active() -> bool {
    host::available()
}

/// The instruction set that kernels use.
pub fn instructions() -> &'static str {
    Level::get().name()
}

/// A weight matrix, `[rows, columns]`, or a stack of them.
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// Plain numbers.
    Dense(&'a Array),
    /// Codes and scales.
    Quantized(&'a Quantized),
}

/// What becomes of products.
pub enum Then<'a> {
    /// One result a weight.
    Store,
    /// One result a weight: `act(product)`.
    Activate(Act),
    /// Of one weight: `residual + factor * product`.
    Add(&'a Array, f32),
    /// Of two weights, one result: `act(first) * second`.
    Gate(Act),
}

/// How a weight lies among an operation's inputs.
#[derive(Clone, Copy)]
enum Stored {
    Dense,
    Affine { bits: u32, group: usize },
    Float(FloatFormat),
}

impl Weight<'_> {
    /// Whether the kernels know how this is stored.
    pub fn is_supported(&self) -> bool {
        self.stored().is_some()
    }

    fn stored(&self) -> Option<Stored> {
        match self {
            Weight::Dense(w) => matches!(w.dtype(), Dtype::F32 | Dtype::F16 | Dtype::Bf16).then_some(Stored::Dense),
            Weight::Quantized(q) => match q.scheme.mode {
                Mode::Affine => {
                    Some(Stored::Affine { bits: q.scheme.bits as u32, group: q.scheme.group_size as usize })
                }
                Mode::Mxfp4 => Some(Stored::Float(FloatFormat::Mxfp4)),
                Mode::Mxfp8 => Some(Stored::Float(FloatFormat::Mxfp8)),
                Mode::Nvfp4 => (self.columns() % 32 == 0).then_some(Stored::Float(FloatFormat::Nvfp4)),
            },
        }
    }

    /// Rows of all matrices.
    pub(super) fn rows(&self) -> i32 {
        let shape = match self {
            Weight::Dense(w) => w.shape(),
            Weight::Quantized(q) => q.packed.shape(),
        };
        shape.split_last().map_or(0, |(_, rows)| rows.iter().fold(1, |n: i32, &d| n.saturating_mul(d)))
    }

    pub(super) fn columns(&self) -> i32 {
        match self {
            Weight::Dense(w) => w.dim(-1),
            Weight::Quantized(q) => q.packed.dim(-1) * 32 / q.scheme.bits,
        }
    }

    /// The type that products with it have, given the type of the input.
    fn promoted(&self, x: Dtype) -> Dtype {
        let own = match self {
            Weight::Dense(w) => w.dtype(),
            Weight::Quantized(q) if q.scales.dtype().is_float() => q.scales.dtype(),
            Weight::Quantized(_) => x,
        };
        promoted(x, own)
    }

    pub(super) fn push_to<'a>(&'a self, inputs: &mut Vec<&'a Array>) {
        match self {
            Weight::Dense(w) => inputs.push(w),
            Weight::Quantized(q) => {
                inputs.extend([&q.packed, &q.scales]);
                inputs.extend(q.biases.as_ref());
            }
        }
    }
}

/// The type of a sum or product of both.
fn promoted(a: Dtype, b: Dtype) -> Dtype {
    if a == b { a } else { Dtype::F32 }
}

/// The inputs of an operation, the numbers among them at hand.
struct Inputs<'a> {
    views: &'a [View<'a>],
    floats: Vec<Option<Held<'a>>>,
}

impl<'a> Inputs<'a> {
    fn new(views: &'a [View<'a>]) -> Inputs<'a> {
        let floats = views.iter().map(|v| v.is_float().then(|| v.floats())).collect();
        Inputs { views, floats }
    }
}

impl Stored {
    fn arrays(self) -> usize {
        match self {
            Stored::Dense => 1,
            Stored::Affine { .. } => 3,
            Stored::Float(_) => 2,
        }
    }

    /// The matrix at `at` and the following inputs.
    fn matrix<'a>(self, inputs: &'a Inputs<'_>, at: usize, columns: usize) -> Matrix<'a> {
        let floats = |i: usize| inputs.floats[at + i].as_ref().expect("floating-point numbers").get();
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

fn unfit(what: &str, shapes: &[&Array]) -> Error {
    let shapes: Vec<String> = shapes.iter().map(|a| format!("{a:?}")).collect();
    Error::mlx(format!("{what}: shapes do not fit: {}", shapes.join(", ")))
}

/// `x @ weight^T + bias` for several weights over the same `x`, `[.., columns]`.
pub fn linear(x: &Array, weights: &[(Weight<'_>, Option<&Array>)], then: Then<'_>) -> Result<Vec<Array>> {
    let columns = x.shape().last().copied().unwrap_or(0);
    let mut dtype = x.dtype();
    let mut inputs = vec![x];
    let mut parts = Vec::with_capacity(weights.len());
    for (weight, bias) in weights {
        let stored = weight.stored().ok_or_else(|| Error::internal("no kernel for this weight"))?;
        let fits = weight.columns() == columns && bias.is_none_or(|b| b.shape() == [weight.rows()]);
        if !fits || !x.dtype().is_float() {
            return Err(unfit("linear", &inputs));
        }
        dtype = weight.promoted(dtype);
        weight.push_to(&mut inputs);
        if let Some(bias) = bias {
            dtype = promoted(dtype, bias.dtype());
            inputs.push(bias);
        }
        parts.push((stored, bias.is_some()));
    }
    let mut shape = x.shape().to_vec();
    let mut shapes: Vec<Vec<i32>> = Vec::with_capacity(weights.len());
    for (weight, _) in weights {
        *shape.last_mut().expect("x has a last axis") = weight.rows();
        shapes.push(shape.clone());
    }
    let (mut add, mut gate, mut activate) = (None, None, None);
    match then {
        Then::Store => {}
        Then::Activate(act) => activate = Some(act),
        Then::Add(residual, factor) => {
            if weights.len() != 1 || residual.shape() != shapes[0] {
                return Err(unfit("linear", &[x, residual]));
            }
            dtype = promoted(dtype, residual.dtype());
            inputs.push(residual);
            add = Some(factor);
        }
        Then::Gate(act) => {
            if weights.len() != 2 || shapes[0] != shapes[1] {
                return Err(unfit("gated linear", &inputs));
            }
            shapes.truncate(1);
            gate = Some(act);
        }
    }
    let outputs: Vec<(&[i32], Dtype)> = shapes.iter().map(|s| (s.as_slice(), dtype)).collect();
    let columns = columns as usize;
    host::operation(
        &inputs,
        &outputs,
        Box::new(move |ins, outs| {
            let inputs = Inputs::new(ins);
            let floats = |at: usize| inputs.floats[at].as_ref().expect("floating-point numbers").get();
            let mut at = 1;
            let parts: Vec<Part> = parts
                .iter()
                .map(|&(stored, bias)| {
                    let weight = stored.matrix(&inputs, at, columns);
                    at += stored.arrays();
                    let bias = bias.then(|| floats(at));
                    at += usize::from(bias.is_some());
                    Part { weight, bias }
                })
                .collect();
            let epilogue = match (add, gate) {
                (Some(factor), _) => Epilogue::Add(floats(at), factor),
                (_, Some(act)) => Epilogue::Gate(act),
                _ => activate.map_or(Epilogue::Store, Epilogue::Activate),
            };
            let x = floats(0);
            // SAFETY: the outputs of this operation.
            let outs = outs.iter().map(|o| unsafe { o.floats_mut() }).collect();
            product(Level::get(), x, x.len() / columns.max(1), &parts, epilogue, outs);
        }),
    )
}

/// A mixture of experts as one operation.
pub struct Mixture<'a> {
    /// Gate, up and down of all experts with their biases: stacks of matrices.
    pub parts: [(Weight<'a>, Option<&'a Array>); 3],
    /// Experts that each row uses.
    pub chosen: i32,
    /// Makes weights of the router's logits.
    pub softmax: RouterSoftmax,
    /// `down(act(gate(x)) * up(x))`
    pub act: Act,
}

impl Mixture<'_> {
    /// The weighted sum of the chosen experts' results, times a factor and added to a residual if one is given. `x` is
    /// `[.., features]`, and so is the result; the router's `logits` are `[.., experts]`.
    pub fn run(&self, x: &Array, logits: &Array, onto: Option<(&Array, f32)>) -> Result<Array> {
        let [gate, up, down] = self.parts.map(|(weight, _)| weight);
        let (Some((&features, rows)), Some((&count, same))) = (x.shape().split_last(), logits.shape().split_last())
        else {
            return Err(unfit("experts", &[x, logits]));
        };
        let inner = down.columns();
        let sized = |w: &Weight, rows: i32, columns: i32| {
            i64::from(w.rows()) == i64::from(count) * i64::from(rows) && w.columns() == columns
        };
        let fits = rows == same
            && sized(&gate, inner, features)
            && sized(&up, inner, features)
            && sized(&down, features, inner)
            && (1..=count).contains(&self.chosen)
            && self.parts.iter().all(|(w, bias)| bias.is_none_or(|b| b.size() == w.rows() as usize))
            && onto.is_none_or(|(residual, _)| residual.shape() == x.shape());
        if !fits || !x.dtype().is_float() || !logits.dtype().is_float() {
            return Err(unfit("experts", &[x, logits]));
        }
        let mut inputs = vec![x, logits];
        let mut dtype = x.dtype();
        let mut stored = Vec::with_capacity(3);
        for (weight, bias) in &self.parts {
            let how = weight.stored().ok_or_else(|| Error::internal("no kernel for this weight"))?;
            dtype = weight.promoted(dtype);
            weight.push_to(&mut inputs);
            inputs.extend(bias);
            stored.push((how, weight.columns() as usize, bias.is_some()));
        }
        if let Some((residual, _)) = onto {
            dtype = promoted(dtype, residual.dtype());
            inputs.push(residual);
        }
        let (count, chosen, softmax, act) = (count as usize, self.chosen as usize, self.softmax, self.act);
        let (features, factor) = (features as usize, onto.map(|(_, factor)| factor));
        let work = move |ins: &[View<'_>], outs: &[View<'_>]| {
            let inputs = Inputs::new(ins);
            let floats = |at: usize| inputs.floats[at].as_ref().expect("floating-point numbers").get();
            let mut at = 2;
            let mut part = |i: usize| {
                let (how, columns, biased): (Stored, usize, bool) = stored[i];
                let weight = how.matrix(&inputs, at, columns);
                at += how.arrays();
                let bias = biased.then(|| floats(at));
                at += usize::from(biased);
                Part { weight, bias }
            };
            let experts = Experts { count, gate: part(0), up: part(1), down: part(2), act };
            let routing = Routing { logits: floats(1), chosen, softmax };
            let onto = factor.map(|factor| (floats(at), factor));
            let x = floats(0);
            // SAFETY: the output of this operation.
            let out = unsafe { outs[0].floats_mut() };
            mix(Level::get(), x, x.len() / features.max(1), &experts, &routing, onto, out);
        };
        one(host::operation(&inputs, &[(x.shape(), dtype)], Box::new(work))?)
    }
}

/// Stacks arrays of one shape and type along a new first axis, wherever in memory they lie.
pub fn stack(arrays: &[Array]) -> Result<Array> {
    let Some(first) = arrays.first() else { return Err(Error::internal("a stack of nothing")) };
    if arrays.iter().any(|a| a.shape() != first.shape() || a.dtype() != first.dtype()) {
        return Err(unfit("stack", &[first]));
    }
    let mut shape = vec![arrays.len() as i32];
    shape.extend(first.shape());
    let inputs: Vec<&Array> = arrays.iter().collect();
    one(host::operation(
        &inputs,
        &[(&shape, first.dtype())],
        Box::new(|ins, outs| {
            // SAFETY: the output of this operation.
            let out = unsafe { outs[0].bytes_mut() };
            let size = out.len() / ins.len();
            if size > 0 {
                out.chunks_exact_mut(size).zip(ins).for_each(|(to, from)| to.copy_from_slice(from.bytes()));
            }
        }),
    )?)
}

fn one(mut arrays: Vec<Array>) -> Result<Array> {
    arrays.pop().ok_or_else(|| Error::internal("an operation without a result"))
}

/// The rows `indices` (u32, any shape) of a table: `[.., columns]`, of the type `dtype`. The caller has checked that
/// they are rows.
pub fn embedding(table: Weight<'_>, indices: &Array, dtype: Dtype) -> Result<Array> {
    let stored = table.stored().ok_or_else(|| Error::internal("no kernel for this table"))?;
    let mut inputs = vec![indices];
    table.push_to(&mut inputs);
    let columns = table.columns();
    let mut shape = indices.shape().to_vec();
    shape.push(columns);
    one(host::operation(
        &inputs,
        &[(&shape, dtype)],
        Box::new(move |ins, outs| {
            let inputs = Inputs::new(ins);
            let table = stored.matrix(&inputs, 1, columns as usize);
            // SAFETY: the output of this operation.
            gather_rows(Level::get(), &table, ins[0].integers(), unsafe { outs[0].floats_mut() });
        }),
    )?)
}

/// RMS norm (or, with `center`, layer norm) over the last axis.
pub fn norm(x: &Array, center: bool, eps: f32, weight: Option<&Array>, bias: Option<&Array>) -> Result<Array> {
    let size = x.shape().last().copied().unwrap_or(0);
    let mut inputs = vec![x];
    let mut dtype = x.dtype();
    for parameter in [weight, bias].into_iter().flatten() {
        if parameter.shape() != [size] {
            return Err(unfit("norm", &[x, parameter]));
        }
        dtype = promoted(dtype, parameter.dtype());
        inputs.push(parameter);
    }
    let (weighted, biased) = (weight.is_some(), bias.is_some());
    one(host::operation(
        &inputs,
        &[(x.shape(), dtype)],
        Box::new(move |ins, outs| {
            let floats: Vec<Held> = ins.iter().map(View::floats).collect();
            let params = NormParams {
                center,
                eps,
                weight: weighted.then(|| floats[1].get()),
                bias: biased.then(|| floats[1 + usize::from(weighted)].get()),
            };
            // SAFETY: the output of this operation.
            normalize(Level::get(), floats[0].get(), size as usize, &params, unsafe { outs[0].floats_mut() });
        }),
    )?)
}

/// The place of the largest number of each row, u32 of the shape of `x` without its last axis.
pub fn argmax(x: &Array) -> Result<Array> {
    let Some((&columns, rows)) = x.shape().split_last().filter(|(n, _)| **n > 0) else {
        return Err(unfit("argmax", &[x]));
    };
    one(host::operation(
        &[x],
        &[(rows, Dtype::U32)],
        Box::new(move |ins, outs| {
            let places: Vec<AtomicU32> = (0..ins[0].rows()).map(|_| AtomicU32::new(0)).collect();
            let found = |row: usize, place: usize| places[row].store(place as u32, Ordering::Relaxed);
            argmax_of_rows(Level::get(), ins[0].floats().get(), columns as usize, &found);
            // SAFETY: the output of this operation.
            let out = unsafe { outs[0].bytes_mut() };
            for (out, place) in out.chunks_exact_mut(4).zip(places) {
                out.copy_from_slice(&place.into_inner().to_ne_bytes());
            }
        }),
    )?)
}

/// Rotates `[batch, .., length, features]`. `offsets` has the first position of each sequence, or one for all.
pub fn rotate(x: &Array, rotation: &Arc<Rotation>, offsets: &[i32]) -> Result<Array> {
    let &[batch, .., length, features] = x.shape() else { return Err(unfit("rope", &[x])) };
    let fit = offsets.len() == 1 || offsets.len() == batch as usize;
    if rotation.dims > features as usize || !fit || offsets.iter().any(|&n| n < 0) {
        return Err(unfit("rope", &[x]));
    }
    let rotation = rotation.clone();
    let offsets: Vec<usize> = offsets.iter().map(|&n| n as usize).collect();
    one(host::operation(
        &[x],
        &[(x.shape(), x.dtype())],
        Box::new(move |ins, outs| {
            let x = ins[0].floats();
            let (length, features) = (length as usize, features as usize);
            // SAFETY: the output of this operation.
            let out = unsafe { outs[0].floats_mut() };
            rotation.rotate(Level::get(), x.get(), length, features, &offsets, out);
        }),
    )?)
}

/// Keys or values of attention.
#[derive(Clone, Copy)]
pub enum Remembered<'a> {
    /// `[batch, kv heads, positions, features]`
    Plain(&'a Array),
    /// Quantized over the features, `[batch, kv heads, capacity, features]`, and how many positions of it count. Affine.
    Quantized(&'a Quantized, i32),
}

impl Remembered<'_> {
    /// Batch, heads, positions, features.
    fn shape(&self) -> Option<[i32; 4]> {
        match self {
            Remembered::Plain(a) => a.shape().try_into().ok(),
            Remembered::Quantized(q, count) => {
                let &[batch, heads, capacity, _] = q.packed.shape() else { return None };
                let affine = q.scheme.mode == Mode::Affine && q.biases.is_some();
                (affine && *count <= capacity).then_some([batch, heads, *count, Weight::Quantized(q).columns()])
            }
        }
    }

    fn dtype(&self) -> Dtype {
        match self {
            Remembered::Plain(a) => a.dtype(),
            Remembered::Quantized(q, _) => q.scales.dtype(),
        }
    }

    fn stored(&self) -> Option<Stored> {
        match self {
            Remembered::Plain(_) => None,
            Remembered::Quantized(q, _) => Weight::Quantized(q).stored(),
        }
    }

    fn push_to<'a>(&'a self, inputs: &mut Vec<&'a Array>) {
        match self {
            Remembered::Plain(a) => inputs.push(a),
            Remembered::Quantized(q, _) => {
                inputs.extend([&q.packed, &q.scales]);
                inputs.extend(q.biases.as_ref());
            }
        }
    }
}

/// `softmax(q k^T * scale) v` with scores capped at `softcap`. `q` is `[batch, heads, length, features]`, and so is the
/// result.
pub fn attention(
    q: &Array,
    keys: Remembered<'_>,
    values: Remembered<'_>,
    scale: f32,
    softcap: Option<f32>,
    mask: &Mask,
) -> Result<Array> {
    let (Ok([batch, heads, length, key_dim]), Some([kb, kv_heads, count, kd]), Some([vb, vh, vc, value_dim])) =
        (<[i32; 4]>::try_from(q.shape()), keys.shape(), values.shape())
    else {
        return Err(unfit("attention", &[q]));
    };
    let fit = kb == batch && vb == batch && vh == kv_heads && vc == count && kd == key_dim;
    if !fit || kv_heads == 0 || heads % kv_heads != 0 || count < 1 || !q.dtype().is_float() {
        return Err(unfit("attention", &[q]));
    }
    let mut inputs = vec![q];
    keys.push_to(&mut inputs);
    let second = inputs.len();
    values.push_to(&mut inputs);
    let third = inputs.len();
    let causal = matches!(mask, Mask::Causal);
    if let Mask::Array(mask) = mask {
        let shape = mask.shape();
        let plain = shape.ends_with(&[length, count]) && shape.iter().rev().skip(2).all(|&n| n == 1);
        if !plain || mask.dtype() != Dtype::Bool {
            return Err(unfit("attention", &[q, mask]));
        }
        inputs.push(mask);
    }
    if causal && count < length {
        return Err(unfit("causal attention", &[q]));
    }
    let dtype = promoted(promoted(q.dtype(), keys.dtype()), values.dtype());
    let shape = [batch, length, heads, value_dim];
    let stored = [keys.stored(), values.stored()];
    let work = move |ins: &[View<'_>], outs: &[View<'_>]| {
        let inputs = Inputs::new(ins);
        let mask = ins.get(third).map(View::booleans);
        let a = Attention {
            batch: batch as usize,
            length: length as usize,
            heads: heads as usize,
            kv_heads: kv_heads as usize,
            key_dim: key_dim as usize,
            value_dim: value_dim as usize,
            scale,
            softcap,
            norm: None,
            rotation: None,
            offset: 0,
            visible: match &mask {
                Some(mask) => Visible::Mask(mask),
                None if causal => Visible::Causal(None),
                None => Visible::All,
            },
        };
        let remembered = |at: usize, stored: Option<Stored>, dim: i32| match stored {
            None => {
                let view = &ins[at];
                assert!(view.dim(3) == 1 || view.stride(3) == 1, "features of a head lie side by side");
                Keys::Plain(view.spanned(), [view.stride(0), view.stride(1), view.stride(2)])
            }
            Some(stored) => Keys::Quantized(stored.matrix(&inputs, at, dim as usize), ins[at].dim(2)),
        };
        let q = &ins[0];
        assert!(q.dim(3) == 1 || q.stride(3) == 1, "features of a head lie side by side");
        let queries = (q.spanned(), [q.stride(0), q.stride(2), q.stride(1)]);
        let (keys, values) = (remembered(1, stored[0], key_dim), remembered(second, stored[1], value_dim));
        let over = Over { attention: a, queries, keys, values, count: count as usize };
        // SAFETY: the output of this operation.
        attend(Level::get(), &over, unsafe { outs[0].floats_mut() });
    };
    one(host::operation(&inputs, &[(&shape, dtype)], Box::new(work))?)?.swap_axes(1, 2)
}

/// Attention of a layer with what stands before it, in one operation.
pub struct CachedAttention {
    /// Query heads.
    pub heads: i32,
    /// Heads of keys and values.
    pub kv_heads: i32,
    /// Features of a head.
    pub head_dim: i32,
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `tanh(scores / cap) * cap`.
    pub softcap: Option<f32>,
    /// RMS norms of each head of queries and of keys: epsilon and weights.
    pub norms: Option<(f32, Array, Array)>,
    /// Rotation of queries and keys.
    pub rotation: Option<Arc<Rotation>>,
    /// What the kernels for CUDA make of it.
    pub prepared: OnceCell<cuda::Prepared>,
}

/// Keys and values of a sequence in buffers that operations write in place, one after the other.
///
/// The buffers are arrays whose memory only the operations of this store touch, each of which depends on the one before
/// it (`written`), so that MLX keeps their order whatever else it computes.
#[derive(Default)]
pub struct Store {
    buffers: Option<(Array, Array)>,
    len: i32,
    written: Option<Array>,
}

/// Positions by which a store grows.
const STEP: i32 = 256;

impl Store {
    /// How many positions are there.
    pub fn len(&self) -> i32 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the last positions.
    pub fn trim(&mut self, n: i32) {
        self.len = (self.len - n).max(0);
    }

    /// What to compute so that everything appended is there.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.written.iter()
    }

    /// Keys and values, `[batch, kv heads, positions, features]`, copied out.
    pub fn all(&self) -> Result<(Array, Array)> {
        let (Some((keys, values)), Some(written)) = (&self.buffers, &self.written) else {
            return Err(Error::internal("an empty cache was read"));
        };
        let copy = |buffer: &Array| {
            let mut shape = buffer.shape().to_vec();
            shape[2] = self.len;
            one(host::operation(&[buffer, written], &[(&shape, buffer.dtype())], Box::new(copy_positions))?)
        };
        Ok((copy(keys)?, copy(values)?))
    }

    fn reserve(&mut self, batch: i32, heads: i32, dim: i32, n: i32, dtype: Dtype) -> Result<()> {
        let capacity = self.buffers.as_ref().map_or(0, |(k, _)| k.dim(2));
        if let Some((keys, _)) = &self.buffers
            && (keys.dim(0) != batch || keys.dtype() != dtype)
        {
            return Err(unfit("attention over a cache", &[keys]));
        }
        if self.len + n <= capacity {
            return Ok(());
        }
        let shape = [batch, heads, (self.len + n + STEP - 1) / STEP * STEP, dim];
        let grown = |old: Option<&Array>| {
            let inputs: Vec<&Array> = old.into_iter().chain(&self.written).collect();
            let inputs = if old.is_some() { inputs } else { Vec::new() };
            one(host::operation(&inputs, &[(&shape, dtype)], Box::new(copy_positions))?)
        };
        let old = self.buffers.as_ref();
        self.buffers = Some((grown(old.map(|b| &b.0))?, grown(old.map(|b| &b.1))?));
        Ok(())
    }
}

/// Copies the first positions of `[batch, heads, positions, features]` into an array with another number of them; what
/// lies beyond stays as it is.
fn copy_positions(ins: &[View<'_>], outs: &[View<'_>]) {
    let Some(from) = ins.first() else { return };
    let to = &outs[0];
    // SAFETY: the output of this operation.
    let (source, target) = (from.bytes(), unsafe { to.bytes_mut() });
    let (old, new) = (from.dim(2), to.dim(2));
    let size = source.len().checked_div(from.dim(0) * from.dim(1) * old).unwrap_or(0);
    let n = old.min(new) * size;
    for (s, t) in source.chunks_exact(old * size).zip(target.chunks_exact_mut(new * size)) {
        t[..n].copy_from_slice(&s[..n]);
    }
}

impl CachedAttention {
    /// Appends keys and values to the stores and attends over them. A mask is one for all sequences. `q` is `[batch, length, heads * head_dim]`, `k` and `v` alike; the result is like `q`. One store has all
    /// sequences, or each sequence has its own.
    pub fn run(&self, q: &Array, k: &Array, v: &Array, mask: &Mask, stores: &mut [&mut Store]) -> Result<Array> {
        let &[batch, length, _] = q.shape() else { return Err(unfit("attention", &[q])) };
        let (query, key) =
            ([batch, length, self.heads * self.head_dim], [batch, length, self.kv_heads * self.head_dim]);
        let fit = q.shape() == query && k.shape() == key && v.shape() == key && k.dtype() == v.dtype();
        if !fit || !(stores.len() == 1 || stores.len() == batch as usize) {
            return Err(unfit("attention", &[q, k, v]));
        }
        let rows = batch / stores.len() as i32;
        for store in stores.iter_mut() {
            store.reserve(rows, self.kv_heads, self.head_dim, length, k.dtype())?;
        }
        let mut inputs = vec![q, k, v];
        let eps = self.norms.as_ref().map(|(eps, q_norm, k_norm)| {
            inputs.extend([q_norm, k_norm]);
            *eps
        });
        let first = inputs.len();
        for store in stores.iter() {
            let (keys, values) = store.buffers.as_ref().expect("just reserved");
            inputs.extend([keys, values]);
        }
        let masked = inputs.len();
        let causal = !matches!(mask, Mask::None);
        let own_mask = matches!(mask, Mask::Array(_));
        if let Mask::Array(mask) = mask {
            let fit = mask.dtype() == Dtype::Bool && stores.iter().all(|s| mask.shape() == [length, s.len + length]);
            if !fit {
                return Err(unfit("attention", &[q, mask]));
            }
            inputs.push(mask);
        }
        // Only for their order.
        inputs.extend(stores.iter().filter_map(|s| s.written.as_ref()));
        let lengths: Vec<usize> = stores.iter().map(|s| s.len as usize).collect();
        let (heads, kv_heads, dim) = (self.heads as usize, self.kv_heads as usize, self.head_dim as usize);
        let (scale, softcap, rotation) = (self.scale, self.softcap, self.rotation.clone());
        let (rows, length) = (rows as usize, length as usize);
        let work = move |ins: &[View<'_>], outs: &[View<'_>]| {
            let level = Level::get();
            let mask = own_mask.then(|| ins[masked].booleans());
            let visible = match &mask {
                Some(mask) => Visible::Mask(mask),
                None if causal => Visible::Causal(None),
                None => Visible::All,
            };
            let (q, k, v) = (ins[0].floats(), ins[1].floats(), ins[2].floats());
            let weights = eps.map(|eps| (eps, ins[3].floats(), ins[4].floats()));
            let norm = |second: bool| {
                weights.as_ref().map(|(eps, q, k)| NormParams {
                    center: false,
                    eps: *eps,
                    weight: Some(if second { k.get() } else { q.get() }),
                    bias: None,
                })
            };
            let (query, key) = (rows * length * heads * dim, rows * length * kv_heads * dim);
            let all: Vec<Over> = lengths
                .iter()
                .enumerate()
                .map(|(i, &at)| {
                    let (keys, values) = (&ins[first + 2 * i], &ins[first + 2 * i + 1]);
                    let capacity = keys.dim(2);
                    let append = |new: &Held<'_>, cache: &View<'_>, norm, rotation| {
                        let new = new.get().slice(i * key, key);
                        // SAFETY: only the operations of this store use the buffer, one after the other.
                        let cache = unsafe { cache.floats_mut() };
                        let append = Append { new, norm, rotation, offset: at, cache, capacity, at };
                        append.write(level, rows, length, kv_heads, dim);
                    };
                    append(&k, keys, norm(true), rotation.as_deref());
                    append(&v, values, None, None);
                    let attention = Attention {
                        batch: rows,
                        length,
                        heads,
                        kv_heads,
                        key_dim: dim,
                        value_dim: dim,
                        scale,
                        softcap,
                        norm: norm(false),
                        rotation: rotation.as_deref(),
                        offset: at,
                        visible,
                    };
                    let strides = [kv_heads * capacity * dim, capacity * dim, dim];
                    Over {
                        attention,
                        queries: (q.get().slice(i * query, query), [length * heads * dim, heads * dim, dim]),
                        keys: Keys::Plain(keys.spanned(), strides),
                        values: Keys::Plain(values.spanned(), strides),
                        count: at + length,
                    }
                })
                .collect();
            // SAFETY: the output of this operation.
            attend_all(level, &all, unsafe { outs[0].floats_mut() });
        };
        let mut results = host::operation(&inputs, &[(q.shape(), q.dtype()), (&[1], Dtype::U8)], Box::new(work))?;
        let written = results.pop();
        for store in stores {
            store.written.clone_from(&written);
            store.len += length as i32;
        }
        one(results)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::quant::Scheme;

    /// Every code with every scale, but those that stand for NaN or infinity.
    #[test]
    fn small_floats_read_as_mlx_reads_them() {
        for (mode, bits, group, scales) in
            [(Mode::Mxfp4, 4, 32, 0u8..=254), (Mode::Mxfp8, 8, 32, 0..=254), (Mode::Nvfp4, 4, 16, 0..=126)]
        {
            let columns = 256;
            let codes: Vec<u8> = match bits {
                4 => (0..columns / 2).map(|i| (i % 16 * 16 + i * 7 % 16) as u8).collect(),
                _ => (0..columns).map(|i| if i & 0x7f == 0x7f { 0 } else { i as u8 }).collect(),
            };
            let rows = scales.clone().count();
            let words: Vec<u32> =
                codes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four"))).collect();
            let packed = Array::from_slice(&words.repeat(rows), &[rows as i32, words.len() as i32]).unwrap();
            let groups = columns / group;
            let scales: Vec<u8> = scales.flat_map(|s| vec![s; groups]).collect();
            let scales = Array::from_slice(&scales, &[rows as i32, groups as i32]).unwrap();
            let q = Quantized { packed, scales, biases: None, scheme: Scheme { mode, bits, group_size: group as i32 } };
            let want = q.dequantize().unwrap().astype(Dtype::F32).unwrap().to_vec::<f32>().unwrap();
            let indices: Vec<u32> = (0..rows as u32).collect();
            let indices = Array::from_slice(&indices, &[rows as i32]).unwrap();
            let got = embedding(Weight::Quantized(&q), &indices, Dtype::Bf16).unwrap();
            let got = got.astype(Dtype::F32).unwrap().to_vec::<f32>().unwrap();
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert!(got == want, "{mode:?}, scale {}, column {}: {got}, not {want}", i / columns, i % columns);
            }
        }
    }
}
