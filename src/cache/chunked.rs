//! Keys and values of the chunk that the latest position is in.

use super::mask::Visible;
use super::saved::Saved;
use super::state::{Reach, State};
use crate::array::Array;
use crate::array::fused::{self, At, Attention, KvBuffer, Mask};
use crate::error::{Error, Result};

/// Attention in chunks, as Llama 4's layers with rotary embedding have it: positions are divided into chunks of `size`, and
/// a query sees the keys of its own chunk that are not later than itself.
pub struct Chunked {
    size: i32,
    /// The position of the first key.
    first: i32,
    buffer: KvBuffer,
}

impl Chunked {
    /// Empty.
    pub fn new(size: i32) -> Chunked {
        Chunked { size, first: 0, buffer: KvBuffer::default() }
    }

    /// The next position.
    fn position(&self) -> i32 {
        self.first + self.buffer.len()
    }

    /// Where the chunk of a position begins.
    fn start_of(&self, position: i32) -> i32 {
        position / self.size * self.size
    }

    /// Forgets what the next position does not see.
    fn drop_old(&mut self) -> Result<()> {
        let old = self.start_of(self.position()) - self.first;
        if old > 0 {
            let len = self.buffer.len();
            self.buffer = match self.buffer.all()? {
                Some((keys, values)) if old < len => {
                    KvBuffer::from_arrays(keys.slice_axis(2, old, len)?, values.slice_axis(2, old, len)?)?
                }
                _ => KvBuffer::default(),
            };
            self.first += old;
        }
        Ok(())
    }
}

impl State for Chunked {
    fn kind(&self) -> &'static str {
        "chunked"
    }

    fn attend(&mut self, op: &Attention, qkv: [&Array; 3], at: &At<'_>) -> Result<Array> {
        self.drop_old()?;
        fused::attend(op, qkv, &mut [&mut self.buffer], at)
    }

    fn attend_again(&mut self, op: &Attention, q: &Array, at: &At<'_>) -> Result<Array> {
        let (q, (keys, values)) = (fused::query_heads(op, q, at.offset)?, self.buffer.seen()?);
        fused::over(op, &q, &keys, &values, at.mask)
    }

    fn mask_again(&self, n: i32) -> Result<Mask> {
        match n {
            1 => Ok(Mask::None),
            _ => Err(Error::unsupported("several positions of sequences that share keys and values of a chunk")),
        }
    }

    fn mask(&self, n: i32, visible: &Visible) -> Result<Mask> {
        let position = self.position();
        let first = self.start_of(position);
        if n == 1 || self.start_of(position + n - 1) == first {
            return visible.mask(n, position - first, None);
        }
        if *visible != Visible::Causal {
            return Err(Error::unsupported("attention in chunks that is not causal"));
        }
        let keys = position + n - first;
        let mut allowed = Vec::with_capacity(n as usize * keys as usize);
        for query in position..position + n {
            let chunk = self.start_of(query);
            allowed.extend((first..first + keys).map(|key| (chunk..=query).contains(&key)));
        }
        Ok(Mask::Array(Array::from_slice(&allowed, &[n, keys])?))
    }

    fn reach(&self) -> Reach {
        Reach::Chunk(self.size)
    }

    /// While the beginning of the chunk that the next position would be in is still there.
    fn can_trim(&self, counts: &[i32], positions: &[i32]) -> bool {
        self.first <= self.start_of(positions[0] - counts[0])
    }

    fn can_be_at(&self, position: i32) -> bool {
        self.position() == position && self.first <= self.start_of(position)
    }

    fn trim(&mut self, counts: &[i32]) -> Result<()> {
        self.buffer.trim(counts[0]);
        Ok(())
    }

    fn fork(&mut self) -> Result<Box<dyn State>> {
        Ok(Box::new(Chunked { buffer: self.buffer.fork(), ..*self }))
    }

    fn arrays(&self) -> Vec<&Array> {
        self.buffer.arrays().collect()
    }

    fn bytes(&self) -> usize {
        self.buffer.bytes()
    }

    fn save(&mut self) -> Result<Saved> {
        let saved = Saved::new(self.kind()).with_pair(self.buffer.all()?);
        Ok(saved.with_number("size", self.size).with_number("first", self.first))
    }

    fn load(&self, saved: &Saved) -> Result<Box<dyn State>> {
        saved.expect(self.kind())?;
        saved.number("size", self.size, self.size)?;
        let buffer = match saved.pair(None)? {
            Some((keys, values)) => KvBuffer::from_arrays(keys, values)?,
            None => KvBuffer::default(),
        };
        let first = saved.number("first", 0, i32::MAX - buffer.len())?;
        Ok(Box::new(Chunked { size: self.size, first, buffer }))
    }
}
