//! The layouts of published checkpoints that several architectures have.

use serde_json::Value;

use crate::array::Array;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::weights::Weights;

/// Drops the layers after the last one: they predict further tokens, which nothing here uses yet.
pub fn drop_prediction_layers(config: &Value, w: &Weights) -> Result<()> {
    let count = config::parse::<Common>(config)?.layer_count()?;
    let index = |name: &str| name.strip_prefix("model.layers.")?.split('.').next()?.parse::<usize>().ok();
    w.rename(|name| index(name).is_none_or(|i| i < count).then(|| name.to_owned()))
}

/// Replaces every tensor whose name ends in `suffix` by what `f` makes of it, with these suffixes.
pub fn replace(w: &Weights, suffix: &str, by: &[&str], f: impl Fn(&Array) -> Result<Vec<Array>>) -> Result<()> {
    for name in w.names() {
        if let Some(path) = name.strip_suffix(suffix) {
            let to: Vec<String> = by.iter().map(|suffix| format!("{path}{suffix}")).collect();
            w.recast(&[&name], &to, |arrays| f(&arrays[0]))?;
        }
    }
    Ok(())
}

/// The first and the second half of an axis.
pub fn halves(a: &Array, axis: i32) -> Result<Vec<Array>> {
    a.split(2, axis)?.iter().map(Array::contiguous).collect()
}

/// The even and the odd places of an axis.
pub fn alternating(a: &Array, axis: usize) -> Result<Vec<Array>> {
    let mut shape = a.shape().to_vec();
    shape[axis] /= 2;
    shape.insert(axis + 1, 2);
    let pairs = a.reshape(&shape)?;
    let axis = axis as i32 + 1;
    (0..2).map(|i| pairs.slice_axis(axis, i, i + 1)?.squeeze_axis(axis)?.contiguous()).collect()
}

/// Matrices with rows and columns exchanged.
pub fn transposed(a: &Array) -> Result<Array> {
    a.swap_axes(-1, -2)?.contiguous()
}

/// Gate and up projections of all experts as one tensor, `{from}.gate_up_proj` `[experts, 2 * size, hidden]`, the gates first;
/// and `{from}.down_proj`.
pub fn split_experts(w: &Weights, from: &str, to: &str) -> Result<()> {
    let name = |part: &str| format!("{to}.{part}_proj.weight");
    replace(w, &format!("{from}.gate_up_proj"), &[&name("gate"), &name("up")], |a| halves(a, 1))?;
    replace(w, &format!("{from}.down_proj"), &[&name("down")], |a| Ok(vec![a.clone()]))
}
