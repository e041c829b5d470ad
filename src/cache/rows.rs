//! States of several sequences, stored separately.

use super::mask::Visible;
use super::saved::Saved;
use super::state::{Reach, State};
use crate::array::fused::{self, At, Attention, KvBuffer, Mask};
use crate::array::{Array, concatenate};
use crate::error::{Error, Result};

/// One state per sequence. Attention over plain keys and values of all of them is one operation where a back end has
/// it.
pub struct Rows(Vec<Box<dyn State>>);

impl Rows {
    /// Two sequences.
    pub fn of(first: Box<dyn State>, second: Box<dyn State>) -> Rows {
        Rows(vec![first, second])
    }
}

impl State for Rows {
    fn kind(&self) -> &'static str {
        "rows"
    }

    fn attend(&mut self, op: &Attention, qkv: [&Array; 3], at: &At<'_>) -> Result<Array> {
        let buffers: Option<Vec<&mut KvBuffer>> = self.0.iter_mut().map(|row| row.buffer()).collect();
        if let Some(mut buffers) = buffers {
            return fused::attend(op, qkv, &mut buffers, at);
        }
        let n = qkv[0].dim(1);
        let attend = |(row, i): (&mut Box<dyn State>, i32)| {
            let of = |a: &Array| a.slice_axis(0, i, i + 1);
            let [q, k, v] = qkv.map(of);
            let (mask, offset) = (row.mask(n, &Visible::Causal)?, at.offset.row(i as usize, n)?);
            row.attend(op, [&q?, &k?, &v?], &At { offset: &offset, held: None, mask: &mask })
        };
        concatenate(&self.0.iter_mut().zip(0..).map(attend).collect::<Result<Vec<_>>>()?, 0)
    }

    fn attend_again(&mut self, op: &Attention, q: &Array, at: &At<'_>) -> Result<Array> {
        let n = q.dim(1);
        let attend = |(row, i): (&mut Box<dyn State>, i32)| {
            let (mask, offset) = (row.mask_again(n)?, at.offset.row(i as usize, n)?);
            row.attend_again(op, &q.slice_axis(0, i, i + 1)?, &At { offset: &offset, held: None, mask: &mask })
        };
        concatenate(&self.0.iter_mut().zip(0..).map(attend).collect::<Result<Vec<_>>>()?, 0)
    }

    fn mask(&self, n: i32, visible: &Visible) -> Result<Mask> {
        match (n, visible) {
            (1, _) => Ok(Mask::None),
            (_, Visible::Causal) => Ok(Mask::Causal),
            _ => Err(Error::invalid_argument("sequences that are decoded together see causally")),
        }
    }

    fn reach(&self) -> Reach {
        self.0.first().map_or(Reach::All, |row| row.reach())
    }

    fn can_trim(&self, counts: &[i32], positions: &[i32]) -> bool {
        let mut rows = self.0.iter().enumerate();
        rows.all(|(i, row)| counts[i] == 0 || row.can_trim(&counts[i..=i], &positions[i..=i]))
    }

    fn trim(&mut self, counts: &[i32]) -> Result<()> {
        let mut rows = self.0.iter_mut().enumerate().filter(|(i, _)| counts[*i] > 0);
        rows.try_for_each(|(i, row)| row.trim(&counts[i..=i]))
    }

    fn checkpoint(&mut self) -> Result<Option<Box<dyn State>>> {
        let mut kept = false;
        for row in &mut self.0 {
            kept |= row.checkpoint()?.is_some();
        }
        if kept { self.fork().map(Some) } else { Ok(None) }
    }

    fn fork(&mut self) -> Result<Box<dyn State>> {
        Ok(Box::new(Rows(self.0.iter_mut().map(|row| row.fork()).collect::<Result<_>>()?)))
    }

    fn settle(&mut self) -> Result<Option<Box<dyn State>>> {
        for row in &mut self.0 {
            if let Some(next) = row.settle()? {
                *row = next;
            }
        }
        Ok(None)
    }

    fn arrays(&self) -> Vec<&Array> {
        self.0.iter().flat_map(|row| row.arrays()).collect()
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|row| row.bytes()).sum()
    }

    fn save(&mut self) -> Result<Saved> {
        Err(Error::internal("several sequences are not saved together"))
    }

    fn load(&self, _: &Saved) -> Result<Box<dyn State>> {
        Err(Error::internal("several sequences are not loaded together"))
    }

    fn push(&mut self, other: Box<dyn State>) -> Result<Option<Box<dyn State>>> {
        self.0.push(other);
        Ok(None)
    }

    fn take(&mut self, row: usize) -> Result<Box<dyn State>> {
        match row < self.0.len() {
            true => Ok(self.0.remove(row)),
            false => Err(Error::internal(format!("there is no sequence {row} of {}", self.0.len()))),
        }
    }
}
