//! Keys and values of the latest positions, and of the first few where wanted.

use super::Visible;
use super::kv::STEP;
use crate::array::fast::Mask;
use crate::array::{Array, concatenate, zeros};
use crate::error::{Error, Result};

/// A ring of `size` positions whose first `keep` are never overwritten.
///
/// One position at a time is written in place. Several at once are appended in temporal order, so that each of them
/// can see the full window before itself; the surplus goes with the next append.
pub struct Rotating {
    size: i32,
    keep: i32,
    position: i32,
    /// Where the next position goes.
    next: i32,
    state: Option<(Array, Array)>,
}

impl Rotating {
    pub(super) fn new(size: i32, keep: i32) -> Rotating {
        Rotating { size, keep, position: 0, next: 0, state: None }
    }

    /// The latest positions up to `position`, in temporal order: all, or `size` of them.
    pub(super) fn ordered(size: i32, position: i32, state: Option<(Array, Array)>) -> Rotating {
        let next = state.as_ref().map_or(0, |(k, _)| k.dim(2));
        Rotating { size, keep: 0, position, next, state }
    }

    /// The positions of the window in temporal order.
    pub(super) fn latest(&self) -> Result<Option<(Array, Array)>> {
        let Some((k, v)) = &self.state else { return Ok(None) };
        let order = |a: &Array| {
            let a = in_temporal_order(a, self.next, self.keep, self.position)?;
            a.slice_axis(2, (a.dim(2) - self.size).max(0), a.dim(2))
        };
        Ok(Some((order(k)?, order(v)?)))
    }

    /// Whether all positions leave in the end.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.keep == 0
    }

    pub(super) fn position(&self) -> i32 {
        self.position
    }

    /// What the latest positions saw, after they were appended.
    pub(super) fn seen(&self) -> Result<(Array, Array)> {
        let (k, v) = self.state.as_ref().ok_or_else(|| Error::internal("an empty cache was read"))?;
        let seen = |a: &Array| a.slice_axis(2, 0, a.dim(2).min(self.position));
        Ok((seen(k)?, seen(v)?))
    }

    /// The causal mask of the `n` latest positions, after they were appended.
    pub(super) fn mask_again(&self, n: i32) -> Result<Mask> {
        Visible::Causal.mask(n, self.len().min(self.position) - n, Some(self.size))
    }

    /// How many positions are there beside several new ones.
    pub(super) fn before(&self) -> i32 {
        self.position.min(self.size - 1)
    }

    pub(super) fn append(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        match keys.dim(-2) {
            1 => self.append_one(keys, values),
            n => self.append_many(keys, values, n),
        }
    }

    fn append_one(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        let len = self.len();
        if self.state.is_none() || (self.position >= len && len < self.size) {
            self.grow(keys, values)?;
        }
        let surplus = self.len() - self.size;
        if surplus > 0 {
            let keep = self.keep;
            self.map(|a| without(a, keep, surplus))?;
            self.next = self.size;
        }
        if self.next == self.size {
            self.next = self.keep;
        }
        let (old_keys, old_values) = self.state.take().expect("grown above");
        let write = |old: Array, new: &Array| -> Result<Array> {
            let mut stop = old.shape().to_vec();
            stop[2] = self.next + 1;
            old.slice_update(new, &[0, 0, self.next, 0], &stop)
        };
        let state = (write(old_keys, keys)?, write(old_values, values)?);
        self.position += 1;
        self.next += 1;
        let seen = match self.position < self.size {
            true => (state.0.slice_axis(2, 0, self.position)?, state.1.slice_axis(2, 0, self.position)?),
            false => state.clone(),
        };
        self.state = Some(state);
        Ok(seen)
    }

    fn append_many(&mut self, keys: &Array, values: &Array, n: i32) -> Result<(Array, Array)> {
        if self.state.is_some() {
            let (next, keep, position) = (self.next, self.keep, self.position);
            self.map(|a| in_temporal_order(a, next, keep, position))?;
            let surplus = self.len() - self.size + 1;
            if surplus > 0 {
                self.map(|a| without(a, keep, surplus))?;
            }
        }
        let state = match self.state.take() {
            None => (keys.clone(), values.clone()),
            Some((k, v)) => (concatenate([&k, keys], 2)?, concatenate([&v, values], 2)?),
        };
        self.next = state.0.dim(2);
        self.position += n;
        self.state = Some(state.clone());
        Ok(state)
    }

    fn grow(&mut self, keys: &Array, values: &Array) -> Result<()> {
        let more = |like: &Array| {
            let mut shape = like.shape().to_vec();
            shape[2] = STEP.min(self.size - self.position.min(self.size - 1));
            zeros(&shape, like.dtype())
        };
        let (k, v) = (more(keys)?, more(values)?);
        self.state = Some(match self.state.take() {
            None => (k, v),
            Some((old_k, old_v)) => (concatenate([&old_k, &k], 2)?, concatenate([&old_v, &v], 2)?),
        });
        self.next = self.position;
        Ok(())
    }

    fn len(&self) -> i32 {
        self.state.as_ref().map_or(0, |(k, _)| k.dim(2))
    }

    fn map(&mut self, f: impl Fn(&Array) -> Result<Array>) -> Result<()> {
        if let Some((k, v)) = &self.state {
            self.state = Some((f(k)?, f(v)?));
        }
        Ok(())
    }

    /// The size of the window.
    pub fn size(&self) -> i32 {
        self.size
    }

    pub(super) fn can_trim(&self) -> bool {
        self.position < self.size
    }

    pub(super) fn trim(&mut self, n: i32) {
        self.position -= n;
        self.next -= n;
    }

    pub(super) fn arrays(&self) -> Vec<&Array> {
        self.state.iter().flat_map(|(k, v)| [k, v]).collect()
    }
}

/// The array without the `surplus` positions behind the kept ones.
fn without(a: &Array, keep: i32, surplus: i32) -> Result<Array> {
    let rest = a.slice_axis(2, keep + surplus, a.dim(2))?;
    match keep {
        0 => Ok(rest),
        _ => concatenate([&a.slice_axis(2, 0, keep)?, &rest], 2),
    }
}

/// The kept positions, then the ring unrolled.
fn in_temporal_order(a: &Array, next: i32, keep: i32, position: i32) -> Result<Array> {
    let len = a.dim(2);
    if next == len {
        Ok(a.clone())
    } else if next < position {
        let parts = [a.slice_axis(2, 0, keep)?, a.slice_axis(2, next, len)?, a.slice_axis(2, keep, next)?];
        concatenate(parts.iter().filter(|p| p.dim(2) > 0), 2)
    } else {
        a.slice_axis(2, 0, next)
    }
}
