//! Attention over buffers that the operation itself writes new keys and values to.

use mlx_engine_kernels::{Append, Attention as Work, Keys, Level, NormParams, Over, Visible, attend_all};

use super::attention::{checked_sinks, numbers, parts};
use super::common::active;
use super::inputs::{one, unfit};
use super::rotate::turning;
use crate::array::fused::buffer::KvBuffer;
use crate::array::fused::terms::attention::{Attention, Values};
use crate::array::fused::terms::mask::Mask;
use crate::array::fused::terms::offset::Offset;
use crate::array::host::{self, Held, View};
use crate::array::{Array, Dtype};
use crate::error::Result;

/// Appends keys and values to the buffers and attends over them, with norms and rotation, in one operation. `q` is
/// `[batch, length, heads * key_dim]`, `k` and `v` alike; the result is `[batch, length, heads * value_dim]`. One buffer
/// has all sequences, which then are at the same offset, or each sequence has its own; a mask is one for all.
pub fn attend(
    op: &Attention,
    qkv: [&Array; 3],
    buffers: &mut [&mut KvBuffer],
    offset: &Offset,
    mask: &Mask,
) -> Option<Result<Array>> {
    if !active() || op.norms.rms().is_err() || mask.differs_by_sequence() {
        return None;
    }
    let offsets: Vec<usize> = match *offset.starts()? {
        [same] => vec![same.max(0) as usize; buffers.len()],
        ref each if each.len() == buffers.len() => each.iter().map(|n| (*n).max(0) as usize).collect(),
        _ => return None,
    };
    if let Some(rotation) = &op.rotation {
        turning(rotation)?;
    }
    Some(run(op, qkv, buffers, offsets, mask))
}

fn run(
    op: &Attention,
    [q, k, v]: [&Array; 3],
    buffers: &mut [&mut KvBuffer],
    offsets: Vec<usize>,
    mask: &Mask,
) -> Result<Array> {
    let &[batch, length, _] = q.shape() else { return Err(unfit("attention", &[q])) };
    let (key_dim, value_dim) = (op.key_dim, op.value_dim);
    let fit = q.shape() == [batch, length, op.heads * key_dim]
        && k.shape() == [batch, length, op.kv_heads * key_dim]
        && v.shape() == [batch, length, op.kv_heads * op.beside()];
    if !fit || !(buffers.len() == 1 || buffers.len() == batch as usize) {
        return Err(unfit("attention", &[q, k, v]));
    }
    let rows = batch / buffers.len() as i32;
    for buffer in buffers.iter_mut() {
        buffer.reserve([rows, op.kv_heads, length], [(key_dim, k.dtype()), (op.beside(), v.dtype())])?;
    }
    let mut inputs = vec![q, k, v];
    let eps = op.norms.rms().ok().flatten().map(|(eps, q, k)| {
        inputs.extend([q, k]);
        eps
    });
    let first = inputs.len();
    for buffer in buffers.iter() {
        inputs.extend(buffer.both()?);
    }
    let masked = inputs.len();
    let (causal, has_mask) = (!matches!(mask, Mask::None), matches!(mask, Mask::Array(_)));
    if let Mask::Array(mask) = mask {
        let fits = |b: &&mut KvBuffer| mask.shape() == [length, b.len() + length];
        if mask.dtype() != Dtype::Bool || !buffers.iter().all(fits) {
            return Err(unfit("attention", &[q, mask]));
        }
        inputs.push(mask);
    }
    let sunk = inputs.len();
    let sinks = checked_sinks(&op.scores, op.heads)?;
    inputs.extend(sinks);
    // Only for their order.
    inputs.extend(buffers.iter().filter_map(|b| b.order().written.as_ref()));
    let lengths: Vec<usize> = buffers.iter().map(|b| b.len() as usize).collect();
    let (heads, kv_heads) = (op.heads as usize, op.kv_heads as usize);
    let (key_dim, value_dim) = (key_dim as usize, value_dim as usize);
    let (scale, softcap, sinks) = (op.scores.scale, op.scores.softcap, sinks.is_some());
    let own = op.values == Values::Own;
    let parts = parts(op.heads, op.kv_heads);
    let rotation = op.rotation.as_ref().and_then(turning).cloned();
    let (rows, length) = (rows as usize, length as usize);
    let work = move |ins: &[View<'_>], outs: &[View<'_>]| {
        let level = Level::get();
        let mask = has_mask.then(|| ins[masked].booleans());
        let visible = match &mask {
            Some(mask) => Visible::Mask(mask),
            None if causal => Visible::Causal(None),
            None => Visible::All,
        };
        let sinks = sinks.then(|| numbers(&ins[sunk]));
        let (q, k, v) = (ins[0].floats(), ins[1].floats(), own.then(|| ins[2].floats()));
        let weights = eps.map(|eps| (eps, ins[3].floats(), ins[4].floats()));
        let norm = |second: bool| {
            weights.as_ref().map(|(eps, q, k)| NormParams {
                center: false,
                eps: *eps,
                weight: Some(if second { k.get() } else { q.get() }),
                bias: None,
            })
        };
        let query = rows * length * heads * key_dim;
        let all: Vec<Over> = lengths
            .iter()
            .zip(&offsets)
            .enumerate()
            .map(|(i, (&at, &offset))| {
                let (keys, values) = (&ins[first + 2 * i], &ins[first + 2 * i + 1]);
                let capacity = keys.dim(2);
                let append = |new: &Held<'_>, dim: usize, cache: &View<'_>, norm, rotation| {
                    let size = rows * length * kv_heads * dim;
                    let new = new.get().slice(i * size, size);
                    // SAFETY: only the operations of this buffer use it, one after the other.
                    let cache = unsafe { cache.floats_mut() };
                    let append = Append { new, norm, rotation, offset, cache, capacity, at };
                    append.write(level, rows, length, kv_heads, dim);
                };
                append(&k, key_dim, keys, norm(true), rotation.as_deref());
                if let Some(v) = &v {
                    append(v, value_dim, values, None, None);
                }
                let attention = Work {
                    batch: rows,
                    length,
                    heads,
                    kv_heads: kv_heads * parts,
                    key_dim,
                    value_dim,
                    scale,
                    softcap,
                    sinks: sinks.as_deref(),
                    norm: norm(false),
                    rotation: rotation.as_deref(),
                    offset,
                    visible,
                };
                let strides = |dim: usize| {
                    let head = if parts > 1 { 0 } else { capacity * dim };
                    [kv_heads * capacity * dim, head, dim]
                };
                let (values, stored) = if own { (values, value_dim) } else { (keys, key_dim) };
                Over {
                    attention,
                    queries: (q.get().slice(i * query, query), [length * heads * key_dim, heads * key_dim, key_dim]),
                    keys: Keys::Plain(keys.spanned(), strides(key_dim)),
                    values: Keys::Plain(values.spanned(), strides(stored)),
                    count: at + length,
                }
            })
            .collect();
        // SAFETY: the output of this operation.
        attend_all(level, &all, unsafe { outs[0].floats_mut() });
    };
    let shape = [batch, length as i32, op.heads * op.value_dim];
    let mut results = host::operation(&inputs, &[(&shape, q.dtype()), (&[1], Dtype::U8)], Box::new(work))?;
    let written = results.pop();
    for buffer in buffers {
        buffer.order_mut().written.clone_from(&written);
        buffer.advance(length as i32);
    }
    one(results)
}
