//! Keys and values of a layer.

use crate::array::{Array, Dtype, concatenate, cpu, zeros};
use crate::error::{Error, Result};

/// Positions by which a buffer grows.
pub const STEP: i32 = 256;

/// Keys and values of all positions, `[rows, kv heads, positions, features]`, which grow at their ends.
///
/// [`attend`](super::attend) may write the buffers in place, which MLX does not know of: operations of that kind are
/// ordered by arrays that they write for each other ([`Order`]), and everybody else waits for the last of them first.
/// Memory is written in place only while it is not shared: [`fork`](KvBuffer::fork) and [`all`](KvBuffer::all) share
/// it, and the next write makes a copy.
///
/// What was computed from positions that [`trim`](KvBuffer::trim) forgets must have been evaluated before new ones take
/// their place.
#[derive(Default)]
pub struct KvBuffer {
    buffers: Option<(Array, Array)>,
    len: i32,
    /// Whether the buffers' memory is unshared and row-major.
    own: bool,
    order: Order,
}

/// The order of operations that write a buffer in place.
#[derive(Clone, Default)]
pub(in crate::array) struct Order {
    /// Available once the last of them is done.
    pub written: Option<Array>,
    /// Scratch memory that they share, if needed.
    pub counts: Option<Array>,
}

impl KvBuffer {
    /// These keys and values, `[rows, kv heads, positions, features]`.
    ///
    /// # Errors
    /// If they are not of the same rows, heads and positions.
    pub fn from_arrays(keys: Array, values: Array) -> Result<KvBuffer> {
        let alike = keys.ndim() == 4 && values.ndim() == 4 && keys.shape()[..3] == values.shape()[..3];
        if !alike || !keys.dtype().is_float() || !values.dtype().is_float() {
            return Err(Error::internal(format!("keys {keys:?} and values {values:?}")));
        }
        let len = keys.dim(2);
        Ok(KvBuffer { buffers: Some((keys, values)), len, own: false, order: Order::default() })
    }

    /// How many positions there are.
    pub fn len(&self) -> i32 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the last `n` positions.
    pub fn trim(&mut self, n: i32) {
        self.len = (self.len - n).max(0);
    }

    /// The arrays to compute so that everything appended is available.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.buffers.iter().flat_map(|(k, v)| [k, v]).chain(&self.order.written)
    }

    /// Memory that is held, in bytes.
    pub fn bytes(&self) -> usize {
        self.buffers.iter().map(|(k, v)| k.nbytes() + v.nbytes()).sum()
    }

    /// Another buffer with the same positions; both are independent from here on.
    pub fn fork(&mut self) -> KvBuffer {
        self.own = false;
        let order = Order { written: self.order.written.clone(), counts: None };
        KvBuffer { buffers: self.buffers.clone(), len: self.len, own: false, order }
    }

    /// Keys and values of all positions; `None` where there have never been any.
    pub fn all(&mut self) -> Result<Option<(Array, Array)>> {
        self.own = false;
        if self.buffers.is_none() { Ok(None) } else { self.views().map(Some) }
    }

    /// Keys and values of all positions, to be used before the next change.
    pub fn seen(&self) -> Result<(Array, Array)> {
        self.views()
    }

    /// Appends keys and values, `[rows, kv heads, n, features]`, and returns all that are there then, to be used before
    /// the next change.
    pub fn append(&mut self, keys: &Array, values: &Array) -> Result<(Array, Array)> {
        let (&[rows, heads, n, key_dim], &[.., value_dim]) = (keys.shape(), values.shape()) else {
            return Err(Error::internal(format!("keys {keys:?} and values {values:?}")));
        };
        if values.shape()[..values.ndim() - 1] != keys.shape()[..3] {
            return Err(Error::internal(format!("keys {keys:?} and values {values:?}")));
        }
        let sides = [(key_dim, keys.dtype()), (value_dim, values.dtype())];
        self.check([rows, heads], sides)?;
        self.settle()?;
        if self.len + n > self.capacity() {
            self.grow([rows, heads, n], sides)?;
        }
        let (old_keys, old_values) = self.buffers.take().expect("grown above");
        let write = |old: Array, new: &Array| {
            if new.dim(3) == 0 {
                return Ok(old);
            }
            let mut stop = old.shape().to_vec();
            stop[2] = self.len + n;
            // `old` is dropped before anything is computed, so that MLX writes in place where it is not shared.
            old.slice_update(new, &[0, 0, self.len, 0], &stop)
        };
        self.buffers = Some((write(old_keys, keys)?, write(old_values, values)?));
        self.own = true;
        self.len += n;
        self.views()
    }

    fn views(&self) -> Result<(Array, Array)> {
        self.settle()?;
        let [keys, values] = self.both()?;
        Ok((keys.slice_axis(2, 0, self.len)?, values.slice_axis(2, 0, self.len)?))
    }

    /// Waits for what is written in place.
    fn settle(&self) -> Result<()> {
        self.order.written.as_ref().map_or(Ok(()), Array::eval)
    }

    fn capacity(&self) -> i32 {
        self.buffers.as_ref().map_or(0, |(k, _)| k.dim(2))
    }

    /// The buffers themselves, `[rows, kv heads, capacity, features]`.
    pub(in crate::array) fn both(&self) -> Result<[&Array; 2]> {
        self.buffers.as_ref().map(|(k, v)| [k, v]).ok_or_else(|| Error::internal("an empty cache was read"))
    }

    pub(in crate::array) fn order(&self) -> &Order {
        &self.order
    }

    pub(in crate::array) fn order_mut(&mut self) -> &mut Order {
        &mut self.order
    }

    /// `n` positions were written in place.
    pub(in crate::array) fn advance(&mut self, n: i32) {
        self.len += n;
    }

    /// Makes room for `[rows, kv heads, n]` more, of which each side has so many features of a type, in memory that may
    /// be written in place.
    pub(in crate::array) fn reserve(&mut self, [rows, heads, n]: [i32; 3], sides: [(i32, Dtype); 2]) -> Result<()> {
        self.check([rows, heads], sides)?;
        match self.own && self.len + n <= self.capacity() {
            true => Ok(()),
            false => self.grow([rows, heads, n], sides),
        }
    }

    /// Whether new keys and values have the same shape and type.
    fn check(&self, [rows, heads]: [i32; 2], sides: [(i32, Dtype); 2]) -> Result<()> {
        if let Some((keys, values)) = &self.buffers {
            let fits = |a: &Array, (dim, dtype): (i32, Dtype)| {
                a.dim(0) == rows && a.dim(1) == heads && a.dim(3) == dim && a.dtype() == dtype
            };
            if !fits(keys, sides[0]) || !fits(values, sides[1]) {
                return Err(Error::mlx(format!("attention over a cache: shapes do not fit: {keys:?}, {values:?}")));
            }
        }
        Ok(())
    }

    /// Unshared memory with room for `n` more.
    fn grow(&mut self, [rows, heads, n]: [i32; 3], sides: [(i32, Dtype); 2]) -> Result<()> {
        let capacity = (self.len + n + STEP - 1) / STEP * STEP;
        let old = self.buffers.as_ref().filter(|_| self.len > 0).map(|(k, v)| [k, v]);
        let grown = |side: usize| {
            let (dim, dtype) = sides[side];
            let old = old.map(|both| both[side]);
            let shape = [rows, heads, capacity, dim];
            if dim == 0 {
                return zeros(&shape, dtype);
            }
            if let Some(grown) = cpu::grown(old, self.order.written.as_ref(), &shape, dtype) {
                return grown;
            }
            let Some(old) = old else { return zeros(&shape, dtype) };
            self.settle()?;
            let more = zeros(&[rows, heads, capacity - self.len, dim], dtype)?;
            concatenate([&old.slice_axis(2, 0, self.len)?, &more], 2)
        };
        self.buffers = Some((grown(0)?, grown(1)?));
        self.own = true;
        Ok(())
    }
}
