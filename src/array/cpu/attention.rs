//! Attention over given keys and values.

use mlx_engine_kernels::{Attention as Work, Keys, Level, Over, Visible, attend};

use super::common::active;
use super::inputs::{Inputs, Stored, one, promoted, unfit};
use crate::array::fused::terms::attention::{Past, Scores};
use crate::array::fused::terms::mask::Mask;
use crate::array::fused::terms::weight::Weight;
use crate::array::host::{self, View};
use crate::array::quant::Mode;
use crate::array::{Array, Dtype};
use crate::error::Result;

/// Batch, heads, positions, features.
fn shape(past: &Past<'_>) -> Option<[i32; 4]> {
    match past {
        Past::Plain(a) => a.shape().try_into().ok(),
        Past::Quantized(q, count) => {
            let &[batch, heads, capacity, _] = q.packed.shape() else { return None };
            let affine = q.scheme.mode == Mode::Affine && q.biases.is_some();
            (affine && *count <= capacity).then_some([batch, heads, *count, Weight::Quantized(q).columns()])
        }
    }
}

fn dtype(past: &Past<'_>) -> Dtype {
    match past {
        Past::Plain(a) => a.dtype(),
        Past::Quantized(q, _) => q.scales.dtype(),
    }
}

fn stored(past: &Past<'_>) -> Option<Stored> {
    match past {
        Past::Plain(_) => None,
        Past::Quantized(q, _) => Stored::of(&Weight::Quantized(q)),
    }
}

fn push_to<'a>(past: Past<'a>, inputs: &mut Vec<&'a Array>) {
    match past {
        Past::Plain(a) => inputs.push(a),
        Past::Quantized(q, _) => Weight::Quantized(q).push_to(inputs),
    }
}

/// The sinks of so many heads, if there are any.
pub(super) fn checked_sinks(scores: &Scores, heads: i32) -> Result<Option<&Array>> {
    match &scores.sinks {
        Some(sinks) if sinks.shape() != [heads] || !sinks.dtype().is_float() => Err(unfit("sinks", &[sinks])),
        sinks => Ok(sinks.as_ref()),
    }
}

/// The elements of an array as f32.
pub(super) fn numbers(view: &View<'_>) -> Vec<f32> {
    let mut numbers = vec![0.0; view.len()];
    view.floats().get().read(Level::get(), &mut numbers);
    numbers
}

/// Into how many key heads one is divided that very many query heads share, so that there is work for all threads.
pub(super) fn parts(heads: i32, kv_heads: i32) -> usize {
    const MANY: i32 = 16;
    match kv_heads {
        1 if heads > MANY => (heads / (1..=8).rev().find(|n| heads % n == 0).unwrap_or(1)) as usize,
        _ => 1,
    }
}

/// `softmax(q k^T * scale) v`. `q` is `[batch, heads, length, features]`, and so is the result. There is no kernel for
/// masks that differ between sequences or heads.
pub fn attention(q: &Array, keys: Past<'_>, values: Past<'_>, scores: &Scores, mask: &Mask) -> Option<Result<Array>> {
    (active() && !mask.differs_by_sequence()).then(|| run(q, keys, values, scores, mask))
}

fn run(q: &Array, keys: Past<'_>, values: Past<'_>, scores: &Scores, mask: &Mask) -> Result<Array> {
    let Scores { scale, softcap, .. } = *scores;
    let (Ok([batch, heads, length, key_dim]), Some([kb, kv_heads, count, kd]), Some([vb, vh, vc, value_dim])) =
        (<[i32; 4]>::try_from(q.shape()), shape(&keys), shape(&values))
    else {
        return Err(unfit("attention", &[q]));
    };
    let fit = kb == batch && vb == batch && vh == kv_heads && vc == count && kd == key_dim;
    if !fit || kv_heads == 0 || heads % kv_heads != 0 || count < 1 || !q.dtype().is_float() {
        return Err(unfit("attention", &[q]));
    }
    let mut inputs = vec![q];
    push_to(keys, &mut inputs);
    let second = inputs.len();
    push_to(values, &mut inputs);
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
    let fourth = inputs.len();
    let sinks = checked_sinks(scores, heads)?;
    inputs.extend(sinks);
    let sinks = sinks.is_some();
    if causal && count < length {
        return Err(unfit("causal attention", &[q]));
    }
    let dtype = promoted(promoted(q.dtype(), dtype(&keys)), dtype(&values));
    let shape = [batch, length, heads, value_dim];
    let parts = if matches!(keys, Past::Plain(_)) { parts(heads, kv_heads) } else { 1 };
    let stored = [stored(&keys), stored(&values)];
    let work = move |ins: &[View<'_>], outs: &[View<'_>]| {
        let inputs = Inputs::new(ins);
        let mask = (fourth > third).then(|| ins[third].booleans());
        let sinks = sinks.then(|| numbers(&ins[fourth]));
        let a = Work {
            batch: batch as usize,
            length: length as usize,
            heads: heads as usize,
            kv_heads: kv_heads as usize * parts,
            key_dim: key_dim as usize,
            value_dim: value_dim as usize,
            scale,
            softcap,
            sinks: sinks.as_deref(),
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
                Keys::Plain(
                    view.spanned(),
                    [view.stride(0), if parts > 1 { 0 } else { view.stride(1) }, view.stride(2)],
                )
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
