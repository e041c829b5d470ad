//! Linear layers, with the norm before and the epilogue after them.

use super::common::{active, floats};
use super::kernel::Kernel;
use super::linear_kernel::{EpilogueKey, LinearKey, MAX_PARTS};
use super::source::Launch;
use crate::array::fused::terms::activation::Activation;
use crate::array::fused::terms::linear::{Epilogue, Linear};
use crate::array::fused::terms::weight::{Part, Weight};
use crate::array::quant::Mode;
use crate::array::{Array, Dtype};
use crate::error::Result;

/// Rows of input that the kernels take.
pub const FEW: usize = 8;

/// How a weight is stored, as far as the kernels care: type, bits, columns per scale.
fn stored(weight: &Weight<'_>) -> Option<(Dtype, i32, i32)> {
    let (dtype, bits, group, columns) = match weight {
        // So many columns in one step, where they come to that.
        Weight::Dense(w) => (w.dtype(), 16, if w.dim(-1) % 64 == 0 { 64 } else { 32 }, w.dim(-1)),
        Weight::Quantized(q) => {
            let known = q.scheme.mode == Mode::Affine
                && matches!(q.scheme.bits, 4 | 8)
                && q.biases.as_ref().is_some_and(|b| b.dtype() == q.scales.dtype());
            known.then_some((q.scales.dtype(), q.scheme.bits, q.scheme.group_size, weight.columns()))?
        }
    };
    (floats(dtype) && columns % group == 0).then_some((dtype, bits, group))
}

/// Whether [`linear`] knows such a weight.
pub fn supports(weight: &Weight<'_>) -> bool {
    active() && stored(weight).is_some()
}

/// Selects the kernel of an operation and its parameters.
pub(super) struct Plan {
    pub key: LinearKey,
    shapes: Vec<Vec<i32>>,
    tiles: usize,
}

/// `None` where no kernel fits.
pub(super) fn plan(op: &Linear<'_>) -> Option<Plan> {
    let Linear { x, parts, epilogue, .. } = *op;
    let norm = match op.norm {
        // Any other norm is a separate operation.
        Some(norm) => Some(norm.rms()?),
        None => None,
    };
    let dtype = x.dtype();
    let first = parts.first()?.weight;
    let columns = first.columns();
    let known = stored(&first)?;
    let same = |a: &Array| a.dtype() == dtype;
    let fits = known.0 == dtype
        && !matches!(epilogue, Epilogue::Gate(Activation::SwigluOai))
        && parts.len() <= MAX_PARTS
        && x.size() > 0
        && x.dim(-1) == columns
        && x.size() / columns as usize <= FEW
        && parts.iter().all(|Part { weight: w, bias, .. }| {
            stored(w) == Some(known)
                && w.columns() == columns
                && bias.is_none_or(|b| same(b) && b.shape() == [w.rows()])
        })
        && norm.is_none_or(|(_, weight)| same(weight) && weight.shape() == [columns]);
    if !fits {
        return None;
    }
    let mut shapes: Vec<Vec<i32>> = Vec::with_capacity(parts.len());
    for part in parts {
        let mut shape = x.shape().to_vec();
        *shape.last_mut()? = part.weight.rows();
        shapes.push(shape);
    }
    let (epilogue_key, joint) = match epilogue {
        Epilogue::Store => (EpilogueKey::Store, 1),
        Epilogue::Activate(_) => return None,
        Epilogue::Add { residual, scale } => {
            let scale = scale.unwrap_or(1.0);
            if parts.len() != 1 || !scale.is_finite() || !same(residual) || residual.shape() != shapes[0] {
                return None;
            }
            (EpilogueKey::Add(scale.to_bits()), 1)
        }
        Epilogue::Gate(act) => {
            if parts.len() != 2 || shapes[0] != shapes[1] {
                return None;
            }
            shapes.truncate(1);
            (EpilogueKey::Gate(act), 2)
        }
    };
    let tiles: usize = parts.iter().step_by(joint).map(|part| (part.weight.rows() as usize).div_ceil(16)).sum();
    let (_, bits, group) = known;
    let mut biases = [false; MAX_PARTS];
    for (has, part) in biases.iter_mut().zip(parts) {
        *has = part.bias.is_some();
    }
    let groups = columns / group;
    let warps = match () {
        // Few tiles leave multiprocessors idle unless each has many warps.
        () if tiles < 264 && groups >= 32 => 16,
        // Where there are many tiles and much to do for each, less is gathered at their ends.
        () if joint == 2 && tiles >= 528 && columns >= 4096 => 4,
        () => 8,
    };
    // Two groups have their scales in one word.
    let chunk = if bits < 16 && groups % 2 == 0 && groups as usize >= 2 * warps { 2 } else { 1 };
    let norm_key = norm.map(|(eps, _)| eps.to_bits());
    let key = LinearKey {
        dtype,
        bits,
        group,
        chunk,
        warps,
        biases,
        parts: parts.len(),
        norm: norm_key,
        epilogue: epilogue_key,
    };
    Some(Plan { key, shapes, tiles })
}

/// One operation for all of it.
pub fn linear(op: &Linear<'_>) -> Option<Result<Vec<Array>>> {
    if !active() {
        return None;
    }
    let Plan { key, shapes, tiles } = plan(op)?;
    let kernel = key.kernel(Kernel::new)?;
    let (x, dtype) = (op.x, key.dtype);
    let mut inputs = vec![x];
    for part in op.parts {
        part.weight.push_to(&mut inputs);
        inputs.extend(part.bias);
    }
    if let Epilogue::Add { residual, .. } = op.epilogue {
        inputs.push(residual);
    }
    inputs.extend(op.norm.and_then(|norm| norm.weight.as_ref()));
    let outputs: Vec<(&[i32], Dtype)> = shapes.iter().map(|s| (s.as_slice(), dtype)).collect();
    let columns = x.dim(-1);
    let rows = x.size() as i32 / columns;
    let scalars: Vec<i32> = [rows, columns].into_iter().chain(op.parts.iter().map(|part| part.weight.rows())).collect();
    let launch = Launch { outputs: &outputs, scalars: &scalars, blocks: [tiles, 1, 1], threads: key.warps * 32 };
    Some(kernel.run(&inputs, &launch))
}
