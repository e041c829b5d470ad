//! What a model remembers of a sequence, layer by layer, and attention over it.
//!
//! A layer's cache takes the new keys and values and computes attention itself ([`LayerCache::attend`]), because how
//! keys are stored decides how they are multiplied. Semantics as in mlx-lm 0.32.2 (`models/cache.py`).
#![forbid(unsafe_code)]

mod attention;
mod kv;
mod quantized;
mod rotating;

pub use attention::AttentionParams;
use kv::Kv;
use quantized::QuantizedKv;
use rotating::Rotating;

use crate::array::cpu::{self, CachedAttention, Store};
use crate::array::cuda;
use crate::array::fast::Mask;
use crate::array::quant::{Mode, Scheme};
use crate::array::{Array, Dtype, arange};
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

    fn scheme(&self) -> Scheme {
        Scheme { mode: Mode::Affine, bits: self.bits, group_size: self.group_size }
    }
}

/// What a layer needs a cache to remember.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerCacheSpec {
    /// All positions, with keys and values of these head sizes.
    Full {
        /// Features of a key's head.
        key_dim: i32,
        /// Features of a value's head.
        value_dim: i32,
    },
    /// The latest positions only.
    Window(i32),
}

/// Positions that a bounded cache keeps from the beginning of the sequence.
const KEPT: i32 = 4;

/// The state of all layers for one sequence (or a batch of equally long ones).
pub struct Cache {
    /// One a layer.
    pub layers: Vec<LayerCache>,
    quantization: Option<KvQuantization>,
}

impl Cache {
    /// An empty cache.
    pub fn new(layers: impl IntoIterator<Item = LayerCacheSpec>, options: &CacheOptions) -> Result<Cache> {
        let layers: Vec<LayerCacheSpec> = layers.into_iter().collect();
        options.validate()?;
        if let Some(q) = options.quantization {
            for spec in &layers {
                if let LayerCacheSpec::Full { key_dim, value_dim } = *spec {
                    check_quantization(q, key_dim)?;
                    check_quantization(q, value_dim)?;
                }
            }
        }
        let layers = layers
            .into_iter()
            .map(|spec| match (spec, options.max_kv_size) {
                (LayerCacheSpec::Window(size), _) => LayerCache::Rotating(Rotating::new(size, 0)),
                (LayerCacheSpec::Full { .. }, Some(size)) => LayerCache::Rotating(Rotating::new(size, KEPT)),
                (LayerCacheSpec::Full { .. }, None) if cpu::active() => LayerCache::Stored(Store::default()),
                (LayerCacheSpec::Full { .. }, None) => LayerCache::Kv(Kv::default()),
            })
            .collect();
        Ok(Cache { layers, quantization: options.quantization })
    }

    /// How many positions have been processed.
    pub fn position(&self) -> i32 {
        self.layers.first().map_or(0, LayerCache::position)
    }

    /// The arrays to compute so that the cache depends on nothing that is still to be computed.
    pub fn arrays(&self) -> Vec<&Array> {
        self.layers.iter().flat_map(LayerCache::arrays).collect()
    }

    /// Quantizes layers that have passed the configured position. Called after each chunk and step.
    pub fn settle(&mut self) -> Result<()> {
        let Some(q) = self.quantization else { return Ok(()) };
        for layer in &mut self.layers {
            let (keys, values) = match layer {
                LayerCache::Kv(kv) if kv.position() > 0 && kv.position() >= q.start => kv.all()?,
                LayerCache::Stored(store) if !store.is_empty() && store.len() >= q.start => store.all()?,
                _ => continue,
            };
            *layer = LayerCache::Quantized(QuantizedKv::new(&keys, &values, q.scheme())?);
        }
        Ok(())
    }

    /// Forgets the last `positions`. Returns false, changing nothing, where some layer no longer could.
    pub fn trim(&mut self, positions: i32) -> bool {
        if positions == 0 {
            return true;
        }
        let possible = self.layers.iter().all(|layer| match layer {
            LayerCache::Rotating(r) => r.can_trim(),
            _ => true,
        });
        if !possible || positions > self.position() {
            return false;
        }
        for layer in &mut self.layers {
            match layer {
                LayerCache::Kv(kv) => kv.trim(positions),
                LayerCache::Stored(store) => store.trim(positions),
                LayerCache::Quantized(kv) => kv.trim(positions),
                LayerCache::Rotating(r) => r.trim(positions),
            }
        }
        true
    }
}

fn check_quantization(q: KvQuantization, head_dim: i32) -> Result<()> {
    match head_dim % q.group_size {
        0 => Ok(()),
        _ => Err(Error::invalid_argument(format!(
            "keys and values of {head_dim} features cannot be quantized in groups of {}",
            q.group_size
        ))),
    }
}

/// The state of one attention layer.
pub enum LayerCache {
    /// All positions as they are.
    Kv(Kv),
    /// The same for the CPU kernels.
    Stored(Store),
    /// All positions, quantized.
    Quantized(QuantizedKv),
    /// The latest positions.
    Rotating(Rotating),
}

impl LayerCache {
    /// How many positions have been processed: the position of the next token.
    pub fn position(&self) -> i32 {
        match self {
            LayerCache::Kv(kv) => kv.position(),
            LayerCache::Stored(store) => store.len(),
            LayerCache::Quantized(kv) => kv.position(),
            LayerCache::Rotating(r) => r.position(),
        }
    }

    /// The mask for `n` new positions.
    pub fn mask(&self, n: i32) -> Result<Mask> {
        match self {
            _ if n == 1 => Ok(Mask::None),
            LayerCache::Rotating(r) => r.mask(n),
            _ => Ok(Mask::Causal),
        }
    }

    /// Appends keys and values, `[batch, kv heads, length, features]`, and attends with `queries`,
    /// `[batch, heads, length, features]`, over all that is remembered.
    pub fn attend(
        &mut self,
        queries: &Array,
        keys: &Array,
        values: &Array,
        mask: &Mask,
        params: &AttentionParams,
    ) -> Result<Array> {
        match self {
            LayerCache::Kv(kv) => {
                let (keys, values) = kv.append(keys, values)?;
                attention::attend(queries, &keys, &values, mask, params)
            }
            LayerCache::Rotating(r) => {
                let (keys, values) = r.append(keys, values)?;
                attention::attend(queries, &keys, &values, mask, params)
            }
            LayerCache::Quantized(kv) => kv.attend(queries, keys, values, mask, params),
            LayerCache::Stored(store) => {
                let (heads, dim) = (queries.dim(1), queries.dim(3));
                let flat = |a: &Array| a.swap_axes(1, 2)?.reshape(&[a.dim(0), a.dim(2), a.dim(1) * a.dim(3)]);
                let attention = CachedAttention {
                    heads,
                    kv_heads: keys.dim(1),
                    head_dim: dim,
                    scale: params.scale,
                    softcap: params.softcap,
                    norms: None,
                    rotation: None,
                    prepared: Default::default(),
                };
                let out = attention.run(&flat(queries)?, &flat(keys)?, &flat(values)?, store)?;
                out.reshape(&[out.dim(0), out.dim(1), heads, dim])?.swap_axes(1, 2)
            }
        }
    }

    /// Does what `attention` describes with queries, keys and values as the projections made them, `[batch, length,
    /// heads * features]`, where this cache can.
    pub fn attend_fused(
        &mut self,
        attention: &CachedAttention,
        q: &Array,
        k: &Array,
        v: &Array,
    ) -> Option<Result<Array>> {
        match self {
            LayerCache::Stored(store) => Some(attention.run(q, k, v, store)),
            LayerCache::Kv(kv) if cuda::attends(attention, q, k) => Some(kv.attend(attention, q, k, v)),
            _ => None,
        }
    }

    fn arrays(&self) -> Vec<&Array> {
        match self {
            LayerCache::Kv(kv) => kv.arrays(),
            LayerCache::Stored(store) => store.arrays().collect(),
            LayerCache::Quantized(kv) => kv.arrays(),
            LayerCache::Rotating(r) => r.arrays(),
        }
    }
}

/// Which of `offset + n` keys the last `n` positions may see, as booleans `[n, offset + n]`: none later than
/// themselves, and with a window only the `window` latest of those.
pub(crate) fn causal_mask(n: i32, offset: i32, window: Option<i32>) -> Result<Array> {
    let positions = |from: i32| arange(f64::from(from), f64::from(offset + n), 1.0, Dtype::I32);
    let keys = positions(0)?.expand_dims(0)?;
    let queries = positions(offset)?.expand_dims(1)?;
    let causal = queries.greater_equal(&keys)?;
    match window {
        None => Ok(causal),
        Some(window) => causal.logical_and(&queries.less(&(keys + window as f32)?)?),
    }
}
