//! Mixtures of experts.

use mlx_engine_kernels::{self as kernels, Experts, Level, Part as Factor, Routing, mix};

use super::common::active;
use super::inputs::{Inputs, Stored, act, one, promoted, promoted_by, unfit};
use crate::array::fused::terms::mixture::{Mixture, RouterSoftmax, Routes};
use crate::array::fused::terms::weight::Weight;
use crate::array::host::{self, View};
use crate::array::{Array, Dtype};
use crate::error::Result;

/// One operation for the choice, the experts, the weighted sum and the residual.
pub fn experts(
    op: &Mixture<'_>,
    x: &Array,
    routes: &Routes<'_>,
    onto: Option<(&Array, Option<f32>)>,
) -> Option<Result<Array>> {
    let Routes::Largest { logits, top_k, softmax } = *routes else { return None };
    if !active() {
        return None;
    }
    let stored = op.parts.iter().map(|part| Stored::of(&part.weight)).collect::<Option<Vec<_>>>()?;
    let softmax = match softmax {
        RouterSoftmax::All => kernels::RouterSoftmax::All,
        RouterSoftmax::Chosen => kernels::RouterSoftmax::Chosen,
    };
    let onto = onto.map(|(residual, factor)| (residual, factor.unwrap_or(1.0)));
    Some(run(op, x, (logits, top_k, softmax), onto, stored))
}

fn run(
    op: &Mixture<'_>,
    x: &Array,
    (logits, chosen, softmax): (&Array, i32, kernels::RouterSoftmax),
    onto: Option<(&Array, f32)>,
    stored: Vec<Stored>,
) -> Result<Array> {
    let [gate, up, down] = op.parts.map(|part| part.weight);
    let (Some((&features, rows)), Some((&count, same))) = (x.shape().split_last(), logits.shape().split_last()) else {
        return Err(unfit("experts", &[x, logits]));
    };
    let inner = down.columns();
    let sized = |w: &Weight, rows: i32, columns: i32| {
        i64::from(w.rows()) == i64::from(count) * i64::from(rows) && w.columns() == columns
    };
    let fits = rows == same
        && count == op.num_experts
        && sized(&gate, inner, features)
        && sized(&up, inner, features)
        && sized(&down, features, inner)
        && (1..=count).contains(&chosen)
        && op.parts.iter().all(|part| part.bias.is_none_or(|b| b.size() == part.weight.rows() as usize))
        && onto.is_none_or(|(residual, _)| residual.shape() == x.shape());
    if !fits || !x.dtype().is_float() || !logits.dtype().is_float() {
        return Err(unfit("experts", &[x, logits]));
    }
    let mut inputs = vec![x, logits];
    let mut dtype: Dtype = x.dtype();
    let mut lie = Vec::with_capacity(3);
    for (part, stored) in op.parts.iter().zip(stored) {
        dtype = promoted_by(&part.weight, dtype);
        part.weight.push_to(&mut inputs);
        inputs.extend(part.bias);
        lie.push((stored, part.weight.columns() as usize, part.bias.is_some()));
    }
    if let Some((residual, _)) = onto {
        dtype = promoted(dtype, residual.dtype());
        inputs.push(residual);
    }
    let (count, chosen, act) = (count as usize, chosen as usize, act(op.activation));
    let (features, factor) = (features as usize, onto.map(|(_, factor)| factor));
    let work = move |ins: &[View<'_>], outs: &[View<'_>]| {
        let inputs = Inputs::new(ins);
        let mut at = 2;
        let mut part = |i: usize| {
            let (how, columns, biased): (Stored, usize, bool) = lie[i];
            let weight = how.matrix(&inputs, at, columns);
            at += how.arrays();
            let bias = biased.then(|| inputs.floats(at));
            at += usize::from(biased);
            Factor { weight, bias }
        };
        let experts = Experts { count, gate: part(0), up: part(1), down: part(2), act };
        let routing = Routing { logits: inputs.floats(1), chosen, softmax };
        let onto = factor.map(|factor| (inputs.floats(at), factor));
        let x = inputs.floats(0);
        // SAFETY: the output of this operation.
        let out = unsafe { outs[0].floats_mut() };
        mix(Level::get(), x, x.len() / features.max(1), &experts, &routing, onto, out);
    };
    one(host::operation(&inputs, &[(x.shape(), dtype)], Box::new(work))?)
}
