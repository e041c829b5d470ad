//! Which keys a query may see.

use crate::array::{Array, Dtype, arange};
use crate::error::Result;

/// Which keys a query may see.
#[derive(Clone, Debug)]
pub enum Mask {
    /// All of them.
    None,
    /// Those at or before the query, the last query seeing the last key.
    Causal,
    /// Those where this boolean array, `[.., queries, keys]`, is true.
    Array(Array),
}

impl Mask {
    /// Whether each sequence or head has its own.
    pub fn differs_by_sequence(&self) -> bool {
        matches!(self, Mask::Array(mask) if mask.ndim() > 2)
    }
}

/// Which of `offset + n` keys the last `n` positions may see, as booleans `[n, offset + n]`: none later than
/// themselves, and with a window only the `window` latest of those.
pub fn causal_mask(n: i32, offset: i32, window: Option<i32>) -> Result<Array> {
    let positions = |from: i32| arange(f64::from(from), f64::from(offset + n), 1.0, Dtype::I32);
    let keys = positions(0)?.expand_dims(0)?;
    let queries = positions(offset)?.expand_dims(1)?;
    let causal = queries.greater_equal(&keys)?;
    match window {
        None => Ok(causal),
        Some(window) => causal.logical_and(&queries.less(&(keys + window as f32)?)?),
    }
}
