//! Keys and values of all positions.

use crate::array::cpu::CachedAttention;
use crate::array::cuda::{self, InPlace};
use crate::array::{Array, Dtype, concatenate, zeros};
use crate::error::{Error, Result};

/// Positions by which a buffer grows.
pub(super) const STEP: i32 = 256;

/// An array that grows along its last but one axis.
#[derive(Default)]
pub(super) struct Growing {
    buffer: Option<Array>,
    len: i32,
}

impl Growing {
    /// All of `buffer`.
    pub fn full(buffer: Array) -> Growing {
        Growing { len: buffer.dim(-2), buffer: Some(buffer) }
    }

    /// What is there, or nothing of the shape that `rows` of `like` would have; `None` where that is empty too.
    pub fn filled(&self, rows: i32, like: &Growing) -> Result<Option<Array>> {
        match (&self.buffer, &like.buffer) {
            (Some(_), _) => self.all().map(Some),
            (None, Some(like)) => {
                let mut shape = like.shape().to_vec();
                (shape[0], shape[2]) = (rows, 0);
                zeros(&shape, like.dtype()).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    /// Forgets the first `n`.
    pub fn drop_first(&mut self, n: i32) -> Result<()> {
        if let Some(buffer) = &self.buffer {
            *self = Growing::full(buffer.slice_axis(-2, n, self.len)?);
        }
        Ok(())
    }

    /// Appends `new` and returns all that is there.
    pub fn append(&mut self, new: &Array) -> Result<Array> {
        self.push(new)?;
        self.all()
    }

    /// Appends `new`.
    pub fn push(&mut self, new: &Array) -> Result<()> {
        let n = new.dim(-2);
        if self.is_full(n) {
            self.grow(new.shape(), new.dtype())?;
        }
        let buffer = self.buffer.take().expect("grown above");
        let mut start = vec![0; new.ndim()];
        let mut stop = buffer.shape().to_vec();
        let axis = new.ndim() - 2;
        (start[axis], stop[axis]) = (self.len, self.len + n);
        // `buffer` is dropped before anything is computed, so that MLX writes in place.
        self.buffer = Some(buffer.slice_update(new, &start, &stop)?);
        drop(buffer);
        self.len += n;
        Ok(())
    }

    /// Whether `n` more need a larger buffer.
    pub fn is_full(&self, n: i32) -> bool {
        self.len + n > self.buffer.as_ref().map_or(0, |b| b.dim(-2))
    }

    /// Makes room for what has the shape `new`.
    pub fn grow(&mut self, new: &[i32], dtype: Dtype) -> Result<()> {
        let mut shape = new.to_vec();
        let axis = shape.len() - 2;
        shape[axis] = (shape[axis] + STEP - 1) / STEP * STEP;
        let more = zeros(&shape, dtype)?;
        self.buffer = Some(match self.buffer.take() {
            None => more,
            Some(old) => concatenate([&old.slice_axis(-2, 0, self.len)?, &more], -2)?,
        });
        Ok(())
    }

    pub fn all(&self) -> Result<Array> {
        self.buffer.as_ref().expect("not empty").slice_axis(-2, 0, self.len)
    }

    pub fn trim(&mut self, n: i32) {
        self.len = (self.len - n).max(0);
    }

    pub fn len(&self) -> i32 {
        self.len
    }

    pub fn array(&self) -> Option<&Array> {
        self.buffer.as_ref()
    }
}

/// Keys and values as they are.
#[derive(Default)]
pub struct Kv {
    pub(super) keys: Growing,
    pub(super) values: Growing,
    in_place: InPlace,
}

impl Kv {
    /// These, `[batch, kv heads, positions, features]`.
    pub(super) fn new(keys: Array, values: Array) -> Kv {
        Kv::of(Growing::full(keys), Growing::full(values))
    }

    pub(super) fn of(keys: Growing, values: Growing) -> Kv {
        Kv { keys, values, in_place: InPlace::default() }
    }

    /// Waits for what is written in place. Before the buffers are read.
    pub(super) fn settle(&self) -> Result<()> {
        self.in_place.settle()
    }

    pub(super) fn append(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        self.settle()?;
        Ok((self.keys.append(keys)?, self.values.append(values)?))
    }

    /// Appends one position a sequence, each of which has had so many, and attends, in one operation.
    pub(super) fn attend(
        &mut self,
        attention: &CachedAttention,
        [q, k, v]: [&Array; 3],
        positions: &[i32],
    ) -> Result<Array> {
        if self.keys.is_full(1) {
            self.settle()?;
            let shape = [q.dim(0), attention.kv_heads, 1, attention.head_dim];
            self.keys.grow(&shape, k.dtype())?;
            self.values.grow(&shape, v.dtype())?;
        }
        let (Some(keys), Some(values)) = (self.keys.array(), self.values.array()) else {
            return Err(Error::internal("an empty cache was read"));
        };
        let at = self.keys.len();
        let out = cuda::attend(attention, [q, k, v], (keys, values), (at, positions), &mut self.in_place)?;
        self.keys.len += 1;
        self.values.len += 1;
        Ok(out)
    }

    pub(super) fn all(&self) -> Result<(Array, Array)> {
        self.settle()?;
        Ok((self.keys.all()?, self.values.all()?))
    }

    pub(super) fn position(&self) -> i32 {
        self.keys.len()
    }

    pub(super) fn trim(&mut self, n: i32) {
        self.keys.trim(n);
        self.values.trim(n);
    }

    pub(super) fn arrays(&self) -> Vec<&Array> {
        self.keys.array().into_iter().chain(self.values.array()).chain(self.in_place.arrays()).collect()
    }
}
