//! Attention of one new position per sequence, over buffers to which the kernel itself writes the new keys and values.

use std::cell::RefCell;

use super::attention_kernel::Prepared;
use super::common::{active, floats};
use super::source::Launch;
use crate::array::fused::buffer::KvBuffer;
use crate::array::fused::terms::at::At;
use crate::array::fused::terms::attention::{Attention, Values};
use crate::array::{Array, Dtype, zeros};
use crate::error::{Error, Result};

thread_local! {
    /// The places of the last step: all layers have the same.
    static PLACES: RefCell<Option<(Vec<i32>, Array)>> = const { RefCell::new(None) };
}

/// One operation for norms, rotation, the new keys and values, and attention, where all sequences are in one buffer.
/// Sequence `i` is at the end of it, and its offset is the number of positions that it has there.
pub fn attend(
    op: &Attention,
    [q, k, v]: [&Array; 3],
    buffers: &mut [&mut KvBuffer],
    at: &At<'_>,
) -> Option<Result<Array>> {
    let [buffer] = buffers else { return None };
    let dtype = q.dtype();
    let fits = active()
        && matches!(op.key_dim, 64 | 128 | 256)
        && op.value_dim == op.key_dim
        && op.values == Values::Own
        && op.scores.sinks.is_none()
        && q.ndim() == 3
        && q.dim(1) == 1
        && floats(dtype)
        && k.dtype() == dtype
        && v.dtype() == dtype
        && match op.norms.rms() {
            Ok(Some((_, q_norm, k_norm))) => q_norm.dtype() == dtype && k_norm.dtype() == dtype,
            Ok(None) => true,
            Err(_) => false,
        };
    if !fits {
        return None;
    }
    let rows = q.dim(0) as usize;
    let held: Vec<i32> = at.held.map_or_else(|| vec![buffer.len(); rows], <[i32]>::to_vec);
    let offsets = at.offset.starts()?;
    if offsets.len() == 1 && held.iter().any(|n| *n != offsets[0]) || offsets.len() > 1 && *offsets != *held {
        return None;
    }
    let prepared = op.memo.get_or_make(|| Some(Prepared::new(op, dtype)))?.as_ref()?;
    (prepared.dtype == dtype).then(|| run(op, prepared, [q, k, v], buffer, &held))
}

fn run(
    op: &Attention,
    prepared: &Prepared,
    [q, k, v]: [&Array; 3],
    buffer: &mut KvBuffer,
    held: &[i32],
) -> Result<Array> {
    let (batch, dtype, dim) = (q.dim(0), q.dtype(), op.key_dim);
    buffer.reserve([batch, op.kv_heads, 1], [(dim, dtype); 2])?;
    let [keys, values] = buffer.both()?;
    let (at, capacity) = (buffer.len(), keys.dim(2));
    let query = [batch, 1, op.heads * dim];
    let key = [batch, 1, op.kv_heads * dim];
    let fits = q.shape() == query
        && [k, v].iter().all(|x| x.shape() == key)
        && held.len() == batch as usize
        && held.iter().all(|n| (0..=at).contains(n));
    if !fits {
        return Err(Error::mlx(format!("attention: shapes do not fit: {q:?}, {k:?}, {v:?}, {keys:?} at {at}")));
    }
    let places = places(at, held)?;
    let heads = batch * op.heads;
    let order = buffer.order();
    let counts = match &order.counts {
        Some(counts) if counts.dim(0) == heads => counts.clone(),
        _ => zeros(&[heads], Dtype::U32)?,
    };
    let before = order.written.as_ref().unwrap_or(&counts).clone();
    let (q_norm, k_norm) = op.norms.rms().ok().flatten().map_or((q, k), |(_, q, k)| (q, k));
    let longest = held.iter().copied().max().unwrap_or(0) as usize;
    // A block reads 64 keys at a time.
    let shares = longest.div_ceil(256).clamp(1, 16);
    let partial = match shares {
        1 => 1,
        _ => heads * shares as i32 * (dim + 2),
    };
    let launch = Launch {
        outputs: &[(&query, dtype), (&[heads], Dtype::U32), (&[partial], Dtype::F32)],
        scalars: &[capacity],
        blocks: [op.heads as usize, shares, batch as usize],
        threads: 512,
    };
    let inputs = [q, k, v, keys, values, &places, &counts, &before, &prepared.frequencies, q_norm, k_norm];
    let mut results = prepared.kernel.run(&inputs, &launch)?.into_iter();
    let (Some(out), Some(written)) = (results.next(), results.next()) else {
        return Err(Error::internal("a kernel without results"));
    };
    let order = buffer.order_mut();
    (order.counts, order.written) = (Some(counts), Some(written));
    buffer.advance(1);
    Ok(out)
}

fn places(at: i32, positions: &[i32]) -> Result<Array> {
    PLACES.with(|last| {
        let mut last = last.borrow_mut();
        if let Some((known, array)) = &*last
            && known[0] == at
            && known[1..] == *positions
        {
            return Ok(array.clone());
        }
        let all: Vec<i32> = std::iter::once(at).chain(positions.iter().copied()).collect();
        let array = Array::from_slice(&all, &[all.len() as i32])?;
        *last = Some((all, array.clone()));
        Ok(array)
    })
}
