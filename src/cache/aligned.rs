//! Keys and values of several sequences in one buffer.

use std::rc::Rc;

use super::mask::Visible;
use super::saved::Saved;
use super::state::{Alone, Plain, Reach, State, buffer_of};
use crate::array::fused::{self, At, Attention, KvBuffer, Mask, STEP, causal_mask};
use crate::array::{Array, Dtype, arange, concatenate, zeros};
use crate::error::{Error, Result};

/// Sequences aligned at their ends, so that one step writes the same columns for all; shorter ones are padded at the
/// front, and a mask hides the padding (as mlx-lm 0.32.2 does, `BatchKVCache`). A window is the same columns for all.
pub struct Aligned {
    kv: KvBuffer,
    /// The first column of each sequence.
    starts: Vec<i32>,
    window: Option<i32>,
    /// Makes a state for a sequence that leaves.
    alone: Rc<Alone>,
}

impl Aligned {
    /// The only sequence so far.
    pub fn new(plain: Plain) -> Aligned {
        Aligned { kv: plain.buffer, starts: vec![0], window: plain.window, alone: plain.alone }
    }

    /// Appends the sequences of `other`.
    pub fn join(&mut self, mut other: Aligned) -> Result<()> {
        let (rows, more) = (self.starts.len() as i32, other.starts.len() as i32);
        let (own, its) = (self.kv.len(), other.kv.len());
        let end = own.max(its);
        let (a, b) = (self.kv.all()?, other.kv.all()?);
        let joined = match a.as_ref().or(b.as_ref()) {
            None => None,
            Some(like) => {
                let (a, b) = (filled(&a, rows, like)?, filled(&b, more, like)?);
                let join = |a: &Array, b: &Array| concatenate([&a.pad(2, end - own, 0)?, &b.pad(2, end - its, 0)?], 0);
                Some((join(&a.0, &b.0)?, join(&a.1, &b.1)?))
            }
        };
        self.kv = buffer_of(joined)?;
        self.starts.iter_mut().for_each(|s| *s += end - own);
        self.starts.extend(other.starts.iter().map(|s| s + end - its));
        Ok(())
    }

    /// One sequence on its own.
    fn row(&mut self, row: usize) -> Result<Box<dyn State>> {
        let (end, index) = (self.kv.len(), row as i32);
        let from = self.starts[row];
        let one = |a: &Array| a.slice_axis(0, index, index + 1)?.slice_axis(2, from, end);
        let state = match self.kv.all()? {
            Some((k, v)) if from < end => Some((one(&k)?, one(&v)?)),
            _ => None,
        };
        (self.alone)(state)
    }

    /// Drops one sequence, and the padding that no other needs.
    fn remove(&mut self, row: usize) -> Result<()> {
        self.starts.remove(row);
        let cut = self.starts.iter().copied().min().unwrap_or(0);
        let (end, row, rows) = (self.kv.len(), row as i32, self.starts.len() as i32 + 1);
        let rest = |a: &Array| {
            let a = a.slice_axis(2, cut, end)?;
            concatenate(&[a.slice_axis(0, 0, row)?, a.slice_axis(0, row + 1, rows)?], 0)
        };
        self.kv = match self.kv.all()? {
            Some((k, v)) if cut < end && !self.starts.is_empty() => buffer_of(Some((rest(&k)?, rest(&v)?)))?,
            _ => KvBuffer::default(),
        };
        self.starts.iter_mut().for_each(|s| *s -= cut);
        Ok(())
    }

    /// The first column that the next position sees.
    fn seen_from(&self) -> i32 {
        self.window.map_or(0, |w| (self.kv.len() + 1 - w).max(0))
    }

    fn attend_window(&mut self, op: &Attention, qkv: [&Array; 3], at: &At<'_>) -> Result<Array> {
        let [q, k, v] = fused::heads(op, qkv, at.offset)?;
        let from = self.seen_from();
        if from >= STEP {
            // Columns that have left the window for good.
            let end = self.kv.len();
            let rest = |a: Array| a.slice_axis(2, from, end);
            if let Some((keys, values)) = self.kv.all()? {
                self.kv = KvBuffer::from_arrays(rest(keys)?, rest(values)?)?;
            }
            self.starts.iter_mut().for_each(|s| *s = (*s - from).max(0));
        }
        let from = self.seen_from();
        let (keys, values) = self.kv.append(&k, &v)?;
        let seen = |a: &Array| a.slice_axis(2, from, a.dim(2));
        fused::over(op, &q, &seen(&keys)?, &seen(&values)?, at.mask)
    }
}

impl State for Aligned {
    fn kind(&self) -> &'static str {
        "aligned"
    }

    fn attend(&mut self, op: &Attention, qkv: [&Array; 3], at: &At<'_>) -> Result<Array> {
        let [q, ..] = qkv;
        if q.dim(0) != self.starts.len() as i32 {
            return Err(Error::internal(format!("{q:?} for {} sequences", self.starts.len())));
        }
        if self.window.is_some() {
            return self.attend_window(op, qkv, at);
        }
        let held: Vec<i32> = self.starts.iter().map(|s| self.kv.len() - s).collect();
        let held = (q.dim(1) == 1).then_some(&held[..]);
        fused::attend(op, qkv, &mut [&mut self.kv], &At { held, ..*at })
    }

    fn extend(&mut self, keys: &Array, beside: &Array) -> Result<Option<(Array, Array)>> {
        match self.window {
            Some(_) => Ok(None),
            None => self.kv.append(keys, beside).map(Some),
        }
    }

    fn attend_again(&mut self, op: &Attention, q: &Array, at: &At<'_>) -> Result<Array> {
        let (keys, values) = self.kv.seen()?;
        // What the new positions saw; of a window, what was left of it when they were appended.
        let before = self.kv.len() - q.dim(1);
        let from = self.window.map_or(0, |w| (before + 1 - w).max(0));
        let seen = |a: &Array| a.slice_axis(2, from, a.dim(2));
        let q = fused::query_heads(op, q, at.offset)?;
        fused::over(op, &q, &seen(&keys)?, &seen(&values)?, at.mask)
    }

    /// `[n, columns]`, or where the sequences' masks differ `[sequences, 1, n, columns]`.
    fn mask(&self, n: i32, visible: &Visible) -> Result<Mask> {
        if n > 1 && *visible != Visible::Causal {
            return Err(Error::invalid_argument("sequences that are decoded together see causally"));
        }
        let (from, end) = (self.seen_from(), self.kv.len());
        let causal = visible.mask(n, end - from, self.window)?;
        if self.starts.iter().all(|s| *s <= from) {
            return Ok(causal);
        }
        let starts = Array::from_slice(&self.starts, &[self.starts.len() as i32, 1, 1, 1])?;
        let columns = arange(f64::from(from), f64::from(end + n), 1.0, Dtype::I32)?;
        let own = columns.greater_equal(&starts)?;
        Ok(Mask::Array(match causal {
            Mask::None => own,
            Mask::Causal => own.logical_and(&causal_mask(n, end - from, None)?)?,
            Mask::Array(causal) => own.logical_and(&causal)?,
        }))
    }

    fn reach(&self) -> Reach {
        self.window.map_or(Reach::All, Reach::Window)
    }

    fn can_trim(&self, counts: &[i32], positions: &[i32]) -> bool {
        let Some(window) = self.window else { return true };
        let enough = |((start, count), position): ((&i32, &i32), &i32)| {
            self.kv.len() - start - count >= (position - count).min(window - 1)
        };
        self.starts.iter().zip(counts).zip(positions).all(enough)
    }

    /// Sequences that forget more than others move, so that all end in the same column again.
    fn trim(&mut self, counts: &[i32]) -> Result<()> {
        let least = counts.iter().copied().min().unwrap_or(0);
        if counts.iter().all(|n| *n == least) {
            self.kv.trim(least);
            return Ok(());
        }
        let end = self.kv.len();
        let Some((keys, values)) = self.kv.all()? else { return Ok(()) };
        let moved = |a: &Array| {
            let row = |(n, i): (&i32, i32)| a.slice_axis(0, i, i + 1)?.slice_axis(2, 0, end - n)?.pad(2, n - least, 0);
            concatenate(&counts.iter().zip(0..).map(row).collect::<Result<Vec<_>>>()?, 0)
        };
        self.kv = KvBuffer::from_arrays(moved(&keys)?, moved(&values)?)?;
        self.starts.iter_mut().zip(counts).for_each(|(s, n)| *s += n - least);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Option<Box<dyn State>>> {
        if self.window.is_some() { self.fork().map(Some) } else { Ok(None) }
    }

    fn fork(&mut self) -> Result<Box<dyn State>> {
        let starts = self.starts.clone();
        Ok(Box::new(Aligned { kv: self.kv.fork(), starts, window: self.window, alone: self.alone.clone() }))
    }

    fn arrays(&self) -> Vec<&Array> {
        self.kv.arrays().collect()
    }

    fn bytes(&self) -> usize {
        self.kv.bytes()
    }

    fn save(&mut self) -> Result<Saved> {
        Err(Error::internal("several sequences are not saved together"))
    }

    fn load(&self, _: &Saved) -> Result<Box<dyn State>> {
        Err(Error::internal("several sequences are not loaded together"))
    }

    fn push(&mut self, mut other: Box<dyn State>) -> Result<Option<Box<dyn State>>> {
        let other = other.plain()?.ok_or_else(|| Error::internal("states of different kinds"))?;
        self.join(Aligned::new(other))?;
        Ok(None)
    }

    fn take(&mut self, row: usize) -> Result<Box<dyn State>> {
        if row >= self.starts.len() {
            return Err(Error::internal(format!("there is no sequence {row} of {}", self.starts.len())));
        }
        let taken = self.row(row)?;
        self.remove(row)?;
        Ok(taken)
    }
}

/// What is there, or nothing of the shape that `rows` of `like` would have.
fn filled(own: &Option<(Array, Array)>, rows: i32, like: &(Array, Array)) -> Result<(Array, Array)> {
    let none = |like: &Array| {
        let mut shape = like.shape().to_vec();
        (shape[0], shape[2]) = (rows, 0);
        zeros(&shape, like.dtype())
    };
    match own {
        Some(own) => Ok(own.clone()),
        None => Ok((none(&like.0)?, none(&like.1)?)),
    }
}
