//! Keys and values of the latest positions, and of the first few where wanted.

use std::rc::Rc;

use super::mask::Visible;
use super::saved::Saved;
use super::state::{Plain, Reach, State, buffer_of};
use crate::array::fused::{self, At, Attention, Mask, STEP};
use crate::array::{Array, concatenate, zeros};
use crate::error::{Error, Result};

/// A ring of `size` positions whose first `keep` are never overwritten.
///
/// One position at a time is written in place. Several at once are appended in temporal order, so that each of them
/// can see the full window before itself; the surplus goes with the next append. What the next position sees, its window
/// without itself, is always there.
pub struct Rotating {
    size: i32,
    keep: i32,
    /// Places that hold a position.
    held: i32,
    /// Where the next position goes.
    next: i32,
    state: Option<(Array, Array)>,
}

impl Rotating {
    /// Empty.
    pub fn new(size: i32, keep: i32) -> Rotating {
        Rotating { size, keep, held: 0, next: 0, state: None }
    }

    /// The latest positions in temporal order.
    fn ordered(size: i32, state: Option<(Array, Array)>) -> Rotating {
        let held = state.as_ref().map_or(0, |(k, _)| k.dim(2));
        Rotating { size, keep: 0, held, next: held, state }
    }

    /// How many positions are there beside several new ones.
    fn before(&self) -> i32 {
        self.held.min(self.size - 1)
    }

    fn append(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        match keys.dim(-2) {
            1 => self.append_one(keys, values),
            n => self.append_many(keys, values, n),
        }
    }

    fn append_one(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        if self.held == self.len() && self.held < self.size {
            self.grow(keys, values)?;
        }
        self.drop_surplus(self.size)?;
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
        self.next += 1;
        self.held = self.held.max(self.next);
        let seen = match self.held < state.0.dim(2) {
            true => (state.0.slice_axis(2, 0, self.held)?, state.1.slice_axis(2, 0, self.held)?),
            false => state.clone(),
        };
        self.state = Some(state);
        Ok(seen)
    }

    fn append_many(&mut self, keys: &Array, values: &Array, n: i32) -> Result<(Array, Array)> {
        self.unroll()?;
        self.drop_surplus(self.size - 1)?;
        let state = match self.state.take() {
            None => (keys.clone(), values.clone()),
            Some((k, v)) => (concatenate([&k, keys], 2)?, concatenate([&v, values], 2)?),
        };
        self.held += n;
        self.next = self.held;
        self.state = Some(state.clone());
        Ok(state)
    }

    /// Room for more where all places hold a position and the ring is not as large as it becomes.
    fn grow(&mut self, keys: &Array, values: &Array) -> Result<()> {
        let more = |like: &Array| {
            let mut shape = like.shape().to_vec();
            shape[2] = STEP.min(self.size - self.held);
            zeros(&shape, like.dtype())
        };
        let (k, v) = (more(keys)?, more(values)?);
        self.state = Some(match self.state.take() {
            None => (k, v),
            Some((old_k, old_v)) => (concatenate([&old_k, &k], 2)?, concatenate([&old_v, &v], 2)?),
        });
        self.next = self.held;
        Ok(())
    }

    /// Places, whether they hold a position or not.
    fn len(&self) -> i32 {
        self.state.as_ref().map_or(0, |(k, _)| k.dim(2))
    }

    fn map(&mut self, f: impl Fn(&Array) -> Result<Array>) -> Result<()> {
        if let Some((k, v)) = &self.state {
            self.state = Some((f(k)?, f(v)?));
        }
        Ok(())
    }

    /// Brings positions, and nothing else, into temporal order.
    fn unroll(&mut self) -> Result<()> {
        let (len, held, next, keep) = (self.len(), self.held, self.next, self.keep);
        if next == len {
            return Ok(());
        }
        self.map(|a| {
            if next == held {
                return a.slice_axis(2, 0, held);
            }
            let parts = [a.slice_axis(2, 0, keep)?, a.slice_axis(2, next, len)?, a.slice_axis(2, keep, next)?];
            concatenate(parts.iter().filter(|p| p.dim(2) > 0), 2)
        })?;
        self.next = held;
        Ok(())
    }

    /// Of positions in temporal order: forgets the oldest beyond `most`, but not the kept ones.
    fn drop_surplus(&mut self, most: i32) -> Result<()> {
        let (surplus, keep) = (self.held - most, self.keep);
        if surplus <= 0 {
            return Ok(());
        }
        self.map(|a| {
            let rest = a.slice_axis(2, keep + surplus, a.dim(2))?;
            match keep {
                0 => Ok(rest),
                _ => concatenate([&a.slice_axis(2, 0, keep)?, &rest], 2),
            }
        })?;
        self.held = most;
        self.next = most;
        Ok(())
    }
}

impl State for Rotating {
    fn kind(&self) -> &'static str {
        "rotating"
    }

    fn attend(&mut self, op: &Attention, qkv: [&Array; 3], at: &At<'_>) -> Result<Array> {
        let [q, k, v] = fused::heads(op, qkv, at.offset)?;
        let (keys, values) = self.append(&k, &v)?;
        fused::over(op, &q, &keys, &values, at.mask)
    }

    fn extend(&mut self, keys: &Array, beside: &Array) -> Result<Option<(Array, Array)>> {
        self.append(keys, beside).map(Some)
    }

    fn attend_again(&mut self, op: &Attention, q: &Array, at: &At<'_>) -> Result<Array> {
        let (keys, values) = self.state.as_ref().ok_or_else(|| Error::internal("an empty cache was read"))?;
        let seen = |a: &Array| a.slice_axis(2, 0, self.held);
        let q = fused::query_heads(op, q, at.offset)?;
        fused::over(op, &q, &seen(keys)?, &seen(values)?, at.mask)
    }

    fn mask_again(&self, n: i32) -> Result<Mask> {
        Visible::Causal.mask(n, self.held - n, Some(self.size))
    }

    fn mask(&self, n: i32, visible: &Visible) -> Result<Mask> {
        visible.mask(n, self.before(), Some(self.size))
    }

    fn reach(&self) -> Reach {
        Reach::Window(self.size)
    }

    /// While what the next position would see is still there.
    fn can_trim(&self, counts: &[i32], positions: &[i32]) -> bool {
        self.held - counts[0] >= (positions[0] - counts[0]).min(self.size - 1)
    }

    fn can_be_at(&self, position: i32) -> bool {
        (position.min(self.size - 1)..=position).contains(&self.held)
    }

    fn trim(&mut self, counts: &[i32]) -> Result<()> {
        self.unroll()?;
        let left = self.held - counts[0];
        if left <= 0 {
            *self = Rotating::new(self.size, self.keep);
            return Ok(());
        }
        self.map(|a| a.slice_axis(2, 0, left))?;
        (self.held, self.next) = (left, left);
        Ok(())
    }

    fn fork(&mut self) -> Result<Box<dyn State>> {
        Ok(Box::new(Rotating { state: self.state.clone(), ..*self }))
    }

    fn arrays(&self) -> Vec<&Array> {
        self.state.iter().flat_map(|(k, v)| [k, v]).collect()
    }

    fn bytes(&self) -> usize {
        self.state.iter().map(|(k, v)| k.nbytes() + v.nbytes()).sum()
    }

    fn save(&mut self) -> Result<Saved> {
        let saved = Saved::new(self.kind()).with_pair(self.state.clone());
        let numbers = [("size", self.size), ("keep", self.keep), ("held", self.held), ("next", self.next)];
        Ok(numbers.into_iter().fold(saved, |saved, (name, n)| saved.with_number(name, n)))
    }

    fn load(&self, saved: &Saved) -> Result<Box<dyn State>> {
        saved.expect(self.kind())?;
        let state = saved.pair(None)?;
        let len = state.as_ref().map_or(0, |(k, _)| k.dim(2));
        let number = |name: &str, least: i32, most: i32| saved.number(name, least, most);
        number("size", self.size, self.size)?;
        number("keep", self.keep, self.keep)?;
        // Places are without a position only at the end of a ring that is not full.
        let held = number("held", len.min(1), len)?;
        let next = match held == len {
            true => number("next", self.keep.min(len), len)?,
            false => number("next", held, held)?,
        };
        if next < len && held == len && len != self.size {
            return Err(saved.bad(&format!("a ring of {len} places is not one of {}", self.size)));
        }
        Ok(Box::new(Rotating { size: self.size, keep: self.keep, held, next, state }))
    }

    fn plain(&mut self) -> Result<Option<Plain>> {
        if self.keep > 0 {
            return Ok(None);
        }
        self.unroll()?;
        self.drop_surplus(self.size)?;
        let size = self.size;
        let alone = move |all| -> Result<Box<dyn State>> { Ok(Box::new(Rotating::ordered(size, all))) };
        Ok(Some(Plain { buffer: buffer_of(self.state.clone())?, window: Some(size), alone: Rc::new(alone) }))
    }
}
