//! Keys and values of several sequences in one buffer.

use super::LayerCache;
use super::attention::{AttentionParams, attend};
use super::kv::{Growing, Kv, STEP};
use super::rotating::Rotating;
use crate::array::cpu::CachedAttention;
use crate::array::fast::Mask;
use crate::array::{Array, Dtype, arange, concatenate};
use crate::error::{Error, Result};

/// Sequences aligned at their ends, so that one step writes one column; shorter ones are padded at the front, and a mask
/// hides the padding (as mlx-lm 0.32.2 does, `BatchKVCache`). A window is the same columns for all.
pub struct Aligned {
    kv: Kv,
    /// The first column of each sequence.
    starts: Vec<i32>,
    /// How many positions of each have been processed.
    positions: Vec<i32>,
    window: Option<i32>,
}

impl Aligned {
    /// The only sequence so far; `None` where its cache cannot be kept in this way.
    pub(super) fn new(cache: &LayerCache) -> Result<Option<Aligned>> {
        let (state, window) = match cache {
            LayerCache::Kv(kv) if kv.position() > 0 => (Some(kv.all()?), None),
            LayerCache::Stored(store) if !store.is_empty() => (Some(store.all()?), None),
            LayerCache::Kv(_) | LayerCache::Stored(_) => (None, None),
            LayerCache::Rotating(r) if r.keeps_nothing() => (r.latest()?, Some(r.size())),
            _ => return Ok(None),
        };
        let kv = state.map_or_else(Kv::default, |(k, v)| Kv::new(k, v));
        Ok(Some(Aligned { kv, starts: vec![0], positions: vec![cache.position()], window }))
    }

    pub(super) fn positions(&self) -> &[i32] {
        &self.positions
    }

    pub(super) fn window(&self) -> Option<i32> {
        self.window
    }

    /// Adds the sequences of `other` behind these.
    pub(super) fn push(&mut self, other: Aligned) -> Result<()> {
        let (rows, more) = (self.starts.len() as i32, other.starts.len() as i32);
        self.kv.settle()?;
        other.kv.settle()?;
        let (own, its) = (self.kv.position(), other.kv.position());
        let end = own.max(its);
        let join = |a: &Growing, b: &Growing| -> Result<Growing> {
            let (Some(a), Some(b)) = (a.filled(rows, b)?, b.filled(more, a)?) else { return Ok(Growing::default()) };
            let (a, b) = (a.pad(2, end - own, 0)?, b.pad(2, end - its, 0)?);
            Ok(Growing::full(concatenate([&a, &b], 0)?))
        };
        self.kv = Kv::of(join(&self.kv.keys, &other.kv.keys)?, join(&self.kv.values, &other.kv.values)?);
        self.starts.iter_mut().for_each(|s| *s += end - own);
        self.starts.extend(other.starts.iter().map(|s| s + end - its));
        self.positions.extend(other.positions);
        Ok(())
    }

    /// One sequence on its own.
    pub(super) fn row(&self, row: usize) -> Result<LayerCache> {
        self.kv.settle()?;
        let (end, index) = (self.kv.position(), row as i32);
        let from = self.window.map_or(0, |w| end - w).max(self.starts[row]);
        let one = |all: &Growing| -> Result<Option<Array>> {
            match all.array() {
                Some(a) if from < end => Ok(Some(a.slice_axis(0, index, index + 1)?.slice_axis(2, from, end)?)),
                _ => Ok(None),
            }
        };
        let state = one(&self.kv.keys)?.zip(one(&self.kv.values)?);
        Ok(match self.window {
            Some(size) => LayerCache::Rotating(Rotating::ordered(size, self.positions[row], state)),
            None => LayerCache::Kv(state.map_or_else(Kv::default, |(k, v)| Kv::new(k, v))),
        })
    }

    /// Drops one sequence, and the padding that no other needs.
    pub(super) fn remove(&mut self, row: usize) -> Result<()> {
        self.starts.remove(row);
        self.positions.remove(row);
        let cut = self.starts.iter().copied().min().unwrap_or(0);
        self.kv.settle()?;
        let (end, row, rows) = (self.kv.position(), row as i32, self.starts.len() as i32 + 1);
        let rest = |all: &Growing| -> Result<Growing> {
            let Some(a) = all.array().filter(|_| cut < end) else { return Ok(Growing::default()) };
            let a = a.slice_axis(2, cut, end)?;
            let parts = [a.slice_axis(0, 0, row)?, a.slice_axis(0, row + 1, rows)?];
            Ok(Growing::full(concatenate(&parts, 0)?))
        };
        self.kv = Kv::of(rest(&self.kv.keys)?, rest(&self.kv.values)?);
        self.starts.iter_mut().for_each(|s| *s -= cut);
        Ok(())
    }

    /// The first column that the next position sees, and the one behind itself.
    fn seen(&self) -> (i32, i32) {
        let end = self.kv.position() + 1;
        (self.window.map_or(0, |w| (end - w).max(0)), end)
    }

    /// The mask for one new position, `[sequences, 1, 1, columns]`.
    pub(super) fn mask(&self) -> Result<Mask> {
        let (from, end) = self.seen();
        if self.starts.iter().all(|s| *s <= from) {
            return Ok(Mask::None);
        }
        let starts = Array::from_slice(&self.starts, &[self.starts.len() as i32, 1, 1, 1])?;
        let columns = arange(f64::from(from), f64::from(end), 1.0, Dtype::I32)?;
        Ok(Mask::Array(columns.greater_equal(&starts)?))
    }

    /// Appends one position a sequence.
    pub(super) fn attend(
        &mut self,
        q: &Array,
        keys: &Array,
        values: &Array,
        mask: &Mask,
        params: &AttentionParams,
    ) -> Result<Array> {
        if keys.dim(2) != 1 || keys.dim(0) != self.starts.len() as i32 {
            return Err(Error::internal(format!("{keys:?} for one position of {} sequences", self.starts.len())));
        }
        let (from, end) = self.seen();
        let (k, v) = self.kv.append(keys, values)?;
        let (k, v) = (k.slice_axis(2, from, end)?, v.slice_axis(2, from, end)?);
        self.positions.iter_mut().for_each(|p| *p += 1);
        if self.window.is_some_and(|w| end >= w + STEP) {
            // What has left the window for good.
            for all in [&mut self.kv.keys, &mut self.kv.values] {
                all.drop_first(from)?;
            }
            self.starts.iter_mut().for_each(|s| *s = (*s - from).max(0));
        }
        attend(q, &k, &v, mask, params)
    }

    /// What the latest position saw, after it was appended.
    pub(super) fn seen_last(&self) -> Result<(Array, Array)> {
        let (keys, values) = self.kv.all()?;
        let from = |a: &Array| a.slice_axis(2, self.window.map_or(0, |w| (a.dim(2) - w).max(0)), a.dim(2));
        Ok((from(&keys)?, from(&values)?))
    }

    /// Does the same from what the projections made, in one operation, where there is no window.
    pub(super) fn attend_fused(&mut self, attention: &CachedAttention, qkv: [&Array; 3]) -> Result<Array> {
        let out = self.kv.attend(attention, qkv, &self.positions)?;
        self.positions.iter_mut().for_each(|p| *p += 1);
        Ok(out)
    }

    pub(super) fn arrays(&self) -> Vec<&Array> {
        self.kv.arrays()
    }
}
