//! Keys and values of all positions.

use crate::array::{Array, concatenate, zeros};
use crate::error::Result;

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
        let n = new.dim(-2);
        let capacity = self.buffer.as_ref().map_or(0, |b| b.dim(-2));
        if self.len + n > capacity {
            self.grow(new, n)?;
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
        self.all()
    }

    fn grow(&mut self, like: &Array, n: i32) -> Result<()> {
        let mut shape = like.shape().to_vec();
        let axis = shape.len() - 2;
        shape[axis] = (n + STEP - 1) / STEP * STEP;
        let more = zeros(&shape, like.dtype())?;
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
    keys: Growing,
    values: Growing,
}

impl Kv {
    /// These, `[batch, kv heads, positions, features]`.
    pub(super) fn new(keys: Array, values: Array) -> Kv {
        Kv { keys: Growing::full(keys), values: Growing::full(values) }
    }

    pub(super) fn append(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        Ok((self.keys.append(keys)?, self.values.append(values)?))
    }

    pub(super) fn all(&self) -> Result<(Array, Array)> {
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
        self.keys.array().into_iter().chain(self.values.array()).collect()
    }
}
