//! How caches are kept.

use crate::array::Dtype;
use crate::array::fused;
use crate::array::quant::{Mode, Scheme};
use crate::error::{Error, Result};

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CacheOptions {
    /// Layers without a window keep only the first four and the latest positions, this many in all.
    pub max_kv_size: Option<i32>,
    /// Keys and values of layers that keep everything are quantized.
    pub quantization: Option<KvQuantization>,
}

/// Quantization of keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvQuantization {
    /// 2, 3, 4, 5, 6 or 8.
    pub bits: i32,
    /// 32, 64 or 128; the head size must be a multiple.
    pub group_size: i32,
    /// The position from which on a sequence is quantized.
    pub start: i32,
}

/// Positions that a bounded cache keeps from the beginning of the sequence.
pub(super) const KEPT: i32 = 4;

impl CacheOptions {
    /// Checks what can be checked without a model.
    ///
    /// # Errors
    /// `InvalidArgument`
    pub fn validate(&self) -> Result<()> {
        if self.max_kv_size.is_some_and(|n| n <= KEPT) {
            return Err(Error::invalid_argument(format!("max_kv_size must be more than {KEPT}")));
        }
        self.quantization.map_or(Ok(()), |q| q.validate())
    }
}

impl KvQuantization {
    fn validate(&self) -> Result<()> {
        match matches!(self.bits, 2..=6 | 8) && matches!(self.group_size, 32 | 64 | 128) && self.start >= 0 {
            true => Ok(()),
            false => Err(Error::invalid_argument(format!(
                "no quantization of {} bits in groups of {}",
                self.bits, self.group_size
            ))),
        }
    }

    /// Checks it for heads of this size.
    pub(super) fn check(&self, head_dim: i32) -> Result<()> {
        match head_dim % self.group_size {
            0 => Ok(()),
            _ => Err(Error::invalid_argument(format!(
                "keys and values of {head_dim} features cannot be quantized in groups of {}",
                self.group_size
            ))),
        }
    }

    pub(super) fn scheme(&self) -> Scheme {
        Scheme { mode: Mode::Affine, bits: self.bits, group_size: self.group_size }
    }
}

/// What a slot of a cache is to remember.
#[derive(Clone, Debug, PartialEq)]
pub enum StateSpec {
    /// Keys and values of all positions, with heads of these sizes.
    Full {
        /// Features of a key's head.
        key_dim: i32,
        /// Features of a value's head; 0 where values are the first features of keys. Such a state is not quantized.
        value_dim: i32,
    },
    /// Keys and values of the latest positions only.
    Window(i32),
    /// Keys and values of the chunk that the latest position is in; chunks have so many positions.
    Chunk(i32),
    /// Arrays of fixed shape that every position changes.
    Recurrent(Vec<RecurrentSpec>),
}

/// An array of a recurrent state.
#[derive(Clone, Debug, PartialEq)]
pub struct RecurrentSpec {
    /// What it is called.
    pub name: &'static str,
    /// Its shape for one sequence, without an axis for sequences.
    pub shape: Vec<i32>,
    /// Its type.
    pub dtype: Dtype,
}

/// How the states of sequences that are decoded together are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As they are, each for itself: the CPU kernels attend over all of them in one operation.
    Rows,
    /// In one buffer, where that is possible, because on a GPU every operation costs time of the host.
    Aligned,
}

impl Layout {
    /// The better one on this thread's device.
    pub fn best() -> Layout {
        if fused::takes_rows_apart() { Layout::Rows } else { Layout::Aligned }
    }
}
