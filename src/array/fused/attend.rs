//! Attention of a layer over its cache, with everything between it and the projections.

use super::attention::attention;
use super::buffer::KvBuffer;
use super::norm::norm;
use super::rotate::rotate;
use super::terms::at::At;
use super::terms::attention::{Attention, HeadNorms};
use super::terms::mask::Mask;
use super::terms::norm::{Norm, NormKind};
use super::terms::offset::Offset;
use crate::array::{Array, concatenate, cpu, cuda};
use crate::error::{Error, Result};

/// Appends the new keys and values to the buffers and attends over them. Queries, keys and values are as the
/// projections produced them, `[batch, length, heads * features]`; the result is `[batch, length, heads * value_dim]`.
/// One buffer has all sequences, or each sequence has its own.
#[track_caller]
pub fn attend(op: &Attention, qkv: [&Array; 3], buffers: &mut [&mut KvBuffer], at: &At<'_>) -> Result<Array> {
    let alone = qkv[0].dim(1) == 1 && (at.held.is_some() || !matches!(at.mask, Mask::Array(_)));
    let on_gpu = if alone { cuda::attend(op, qkv, buffers, at) } else { None };
    if let Some(out) = on_gpu.or_else(|| cpu::attend(op, qkv, buffers, at.offset, at.mask)) {
        return out;
    }
    let [q, k, v] = heads(op, qkv, at.offset)?;
    if cpu::active() && !at.mask.differs_by_sequence() {
        // Not the norms or the rotation, but the rest.
        let plain = Attention {
            value_dim: op.value_dim,
            values: op.values,
            ..Attention::plain(op.heads, op.kv_heads, op.key_dim, op.scores.clone())
        };
        let (q, k, v) = (merged(&q)?, merged(&k)?, merged(&v)?);
        if let Some(out) = cpu::attend(&plain, [&q, &k, &v], buffers, &Offset::Same(0), at.mask) {
            return out;
        }
    }
    match buffers {
        [buffer] => {
            let (keys, values) = buffer.append(&k, &v)?;
            over(op, &q, &keys, &values, at.mask)
        }
        buffers => {
            let row = |(buffer, i): (&mut &mut KvBuffer, i32)| {
                let of = |a: &Array| a.slice_axis(0, i, i + 1);
                let (keys, values) = buffer.append(&of(&k)?, &of(&v)?)?;
                let mask = match at.mask {
                    Mask::Array(mask) if mask.ndim() == 4 && mask.dim(0) > 1 => Mask::Array(of(mask)?),
                    mask => mask.clone(),
                };
                over(op, &of(&q)?, &keys, &values, &mask)
            };
            concatenate(&buffers.iter_mut().zip(0..).map(row).collect::<Result<Vec<_>>>()?, 0)
        }
    }
}

/// Attention of a layer over all of its keys and what is stored beside them, with queries that have been normed and
/// rotated. The result is `[batch, length, heads * value_dim]`.
#[track_caller]
pub fn over(op: &Attention, q: &Array, keys: &Array, beside: &Array, mask: &Mask) -> Result<Array> {
    merged(&attention(q, keys, &op.values(keys, beside)?, mask, &op.scores)?)
}

/// Heads of queries, `[batch, heads, length, features]`, normed and rotated.
pub fn query_heads(op: &Attention, q: &Array, offset: &Offset) -> Result<Array> {
    let (batch, length) = (q.dim(0), q.dim(1));
    let mut q = match length {
        1 => q.reshape(&[batch, op.heads, 1, op.key_dim])?,
        _ => q.reshape(&[batch, length, op.heads, op.key_dim])?.swap_axes(1, 2)?,
    };
    match &op.norms {
        HeadNorms::None | HeadNorms::AfterRotation { .. } => {}
        HeadNorms::Same { q: q_norm, .. } => q = norm(&q, q_norm)?,
        HeadNorms::Each { eps, q: weight, .. } => {
            let layer = Norm { kind: NormKind::Layer, eps: *eps, weight: None, bias: None };
            q = (norm(&q, &layer)? * weight)?;
        }
    }
    if let Some(rotation) = &op.rotation {
        q = rotate(&q, rotation, offset)?;
    }
    match &op.norms {
        HeadNorms::AfterRotation { q: q_norm, .. } => norm(&q, q_norm),
        _ => Ok(q),
    }
}

/// Heads of queries, keys and values, `[batch, heads, length, features]`, normed and rotated.
pub fn heads(op: &Attention, [q, k, v]: [&Array; 3], offset: &Offset) -> Result<[Array; 3]> {
    let (batch, length) = (q.dim(0), q.dim(1));
    let split = |a: &Array, heads: i32, dim: i32| match length {
        // One position needs no exchange of axes.
        1 => a.reshape(&[batch, heads, 1, dim]),
        _ => a.reshape(&[batch, length, heads, dim])?.swap_axes(1, 2),
    };
    let mut q = split(q, op.heads, op.key_dim)?;
    let mut k = split(k, op.kv_heads, op.key_dim)?;
    let v = split(v, op.kv_heads, op.beside())?;
    match &op.norms {
        HeadNorms::None | HeadNorms::AfterRotation { .. } => {}
        HeadNorms::Same { q: q_norm, k: k_norm } => (q, k) = (norm(&q, q_norm)?, norm(&k, k_norm)?),
        HeadNorms::Each { eps, q: q_weight, k: k_weight } => {
            let layer = Norm { kind: NormKind::Layer, eps: *eps, weight: None, bias: None };
            (q, k) = ((norm(&q, &layer)? * q_weight)?, (norm(&k, &layer)? * k_weight)?);
        }
    }
    if let Some(rotation) = &op.rotation {
        (q, k) = (rotate(&q, rotation, offset)?, rotate(&k, rotation, offset)?);
    }
    if let HeadNorms::AfterRotation { q: q_norm, k: k_norm } = &op.norms {
        (q, k) = (norm(&q, q_norm)?, norm(&k, k_norm)?);
    }
    Ok([q, k, v])
}

/// `[batch, heads, length, features]` as `[batch, length, heads * features]`.
pub fn merged(heads: &Array) -> Result<Array> {
    let &[batch, n, length, features] = heads.shape() else {
        return Err(Error::internal(format!("heads of shape {:?}", heads.shape())));
    };
    let shape = [batch, length, n * features];
    if length == 1 { heads.reshape(&shape) } else { heads.swap_axes(1, 2)?.reshape(&shape) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::fused::terms::attention::Scores;
    use crate::array::fused::terms::rotation::{Rotation, Turns};
    use crate::array::{Device, Dtype, random, set_device};

    fn numbers(shape: &[i32], seed: u64) -> Array {
        random::normal(shape, 1.0, Dtype::F32, &random::key(seed).unwrap()).unwrap()
    }

    fn close(got: &Array, want: &Array, what: &str) {
        assert_eq!(got.shape(), want.shape(), "{what}");
        let [got, want] = [got, want].map(|a| a.contiguous().unwrap().to_vec::<f32>().unwrap());
        for (got, want) in got.iter().zip(&want) {
            assert!((got - want).abs() < 1e-5, "{what}: {got}, not {want}");
        }
    }

    /// In one operation, and piece by piece: heads, then attention over all keys and values so far. Keys are larger than
    /// values.
    #[test]
    fn buffers_of_two_sizes_and_every_way_to_fill_them() {
        set_device(Device::Cpu).unwrap();
        let scores = Scores::scaled(0.3);
        let mut op = Attention { value_dim: 16, ..Attention::plain(4, 2, 24, scores.clone()) };
        let weight = |seed| Some(numbers(&[24], seed));
        let rms = |seed| Norm { kind: NormKind::Rms, eps: 1e-5, weight: weight(seed), bias: None };
        op.norms = HeadNorms::Same { q: rms(91), k: rms(92) };
        op.rotation = Some(Rotation::new(24, false, Turns::Powers { base: 10_000.0, scale: 1.0 }));
        let (mut buffer, mut all) = (KvBuffer::default(), None::<(Array, Array)>);
        for (step, n) in [3, 1, 1, 300, 1, 2].into_iter().enumerate() {
            let of = |features: i32, i: u64| numbers(&[1, n, features], 10 * step as u64 + i);
            let (q, k, v) = (of(4 * 24, 1), of(2 * 24, 2), of(2 * 16, 3));
            let offset = Offset::Same(buffer.len());
            let mask = if n == 1 { Mask::None } else { Mask::Causal };
            let [heads_q, heads_k, heads_v] = heads(&op, [&q, &k, &v], &offset).unwrap();
            let (keys, values) = match all {
                None => (heads_k, heads_v),
                Some((keys, values)) => {
                    (concatenate([&keys, &heads_k], 2).unwrap(), concatenate([&values, &heads_v], 2).unwrap())
                }
            };
            let want = merged(&attention(&heads_q, &keys, &values, &mask, &scores).unwrap()).unwrap();
            all = Some((keys.clone(), values.clone()));
            let at = At { offset: &offset, held: None, mask: &mask };
            let got = attend(&op, [&q, &k, &v], &mut [&mut buffer], &at).unwrap();
            close(&got, &want, &format!("step {step}"));
            let (its_keys, its_values) = buffer.all().unwrap().unwrap();
            close(&its_keys, &keys, "keys");
            close(&its_values, &values, "values");
            if step == 2 {
                // Memory shared with another buffer.
                buffer = KvBuffer::from_arrays(its_keys, its_values).unwrap();
            }
        }
        // What was shared is unchanged, though both continued.
        let mut fork = buffer.fork();
        let before = buffer.all().unwrap().unwrap().0;
        let of = |features: i32, seed: u64| numbers(&[1, 1, features], seed);
        for (buffer, seed) in [(&mut buffer, 70), (&mut fork, 80)] {
            buffer.trim(4);
            let offset = Offset::Same(buffer.len());
            let at = At { offset: &offset, held: None, mask: &Mask::None };
            let (q, k, v) = (of(4 * 24, seed), of(2 * 24, seed + 1), of(2 * 16, seed + 2));
            attend(&op, [&q, &k, &v], &mut [buffer], &at).unwrap().eval().unwrap();
        }
        close(&before, &all.unwrap().0, "what was read before");
        assert_eq!((buffer.len(), fork.len()), (305, 305));
        let last = |buffer: &mut KvBuffer| buffer.all().unwrap().unwrap().0.slice_axis(2, 304, 305).unwrap();
        let [a, b] = [&mut buffer, &mut fork].map(|b| last(b).contiguous().unwrap().to_vec::<f32>().unwrap());
        assert_ne!(a, b);
        let other = numbers(&[1, 2, 1, 8], 1);
        assert!(buffer.append(&other, &other).is_err(), "heads of another size");
    }
}
