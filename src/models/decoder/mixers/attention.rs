//! Softmax attention with grouped queries.

use super::kind::{Mix, MixerShape, MixerSpec, SharedKv};
use crate::array::cpu::{self, CachedAttention};
use crate::array::cuda;
use crate::array::fast::layer_norm;
use crate::array::{Array, stack};
use crate::cache::{AttentionParams, LayerCache, LayerCacheSpec, attend};
use crate::error::{Error, Result};
use crate::models::config::{invalid, size};
use crate::models::decoder::pass::{At, Residual, State, StateUse};
use crate::models::shape::StateShape;
use crate::nn::{Input, Joint, Linear, Norm, NormSpec, Rope, RopeSpec};
use crate::weights::Weights;

/// Softmax attention with grouped queries.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: i32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: i32,
    /// Features of a head.
    pub head_dim: i32,
    /// Biases of the projections.
    pub bias: AttentionBias,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// Rotary embedding; none where positions are not encoded.
    pub rope: Option<RopeSpec>,
    /// How many positions a query sees, itself included; all if none.
    pub window: Option<i32>,
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `tanh(scores / cap) * cap`.
    pub softcap: Option<f32>,
    /// Where its weights are.
    pub names: AttentionNames,
}

/// Where the weights of an attention are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttentionNames {
    /// The attention within the layer; the others are within it.
    pub attention: &'static str,
    /// The projections to queries, keys and values.
    pub qkv: QkvNames,
    /// The projection of the result.
    pub output: &'static str,
    /// The norms of queries and keys.
    pub qk_norm: [&'static str; 2],
}

/// How the projections to queries, keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvNames {
    /// One matrix each.
    Separate([&'static str; 3]),
    /// One matrix, their rows one after the other.
    Fused(&'static str),
}

impl Default for AttentionNames {
    /// Llama's names.
    fn default() -> Self {
        AttentionNames {
            attention: "self_attn",
            qkv: QkvNames::Separate(["q_proj", "k_proj", "v_proj"]),
            output: "o_proj",
            qk_norm: ["q_norm", "k_norm"],
        }
    }
}

/// Biases of an attention's projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionBias {
    /// None.
    None,
    /// On queries, keys and values.
    Qkv,
    /// On those and on the output.
    All,
}

impl AttentionBias {
    /// What `attention_bias` says.
    pub fn all_if(bias: bool) -> AttentionBias {
        if bias { AttentionBias::All } else { AttentionBias::None }
    }
}

/// Norms of queries and keys.
#[derive(Clone, Debug, PartialEq)]
pub enum QkNorm {
    /// None.
    None,
    /// Over each head, the same weights for all heads.
    Head(NormSpec),
    /// Over all heads together.
    Projection(NormSpec),
    /// Mean and variance over each head, then weights of its own for each head.
    EachHead {
        /// Added to the variance.
        eps: f32,
        /// How the weights are stored.
        weights: HeadWeights,
    },
}

/// How weights that each head has of its own are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadWeights {
    /// `{norm}.weight`, `[heads, head_dim]`.
    Matrix,
    /// `{norm}.norms.{head}.weight`, `[head_dim]` each.
    List,
}

impl AttentionSpec {
    /// Attention without biases and norms that sees everything, scaled by `1 / sqrt(head_dim)`, with Llama's names.
    pub fn new(heads: i32, kv_heads: i32, head_dim: i32, rope: RopeSpec) -> AttentionSpec {
        AttentionSpec {
            heads,
            kv_heads,
            head_dim,
            bias: AttentionBias::None,
            qk_norm: QkNorm::None,
            rope: Some(rope),
            window: None,
            scale: (f64::from(head_dim).powf(-0.5)) as f32,
            softcap: None,
            names: AttentionNames::default(),
        }
    }
}

impl MixerSpec for AttentionSpec {
    fn validate(&self, state: StateUse) -> Result<()> {
        size("num_attention_heads", self.heads, 1 << 12)?;
        size("num_key_value_heads", self.kv_heads, 1 << 12)?;
        size("head_dim", self.head_dim, 1 << 14)?;
        if self.heads % self.kv_heads != 0 {
            return Err(invalid(format!(
                "num_attention_heads {} is not a multiple of num_key_value_heads {}",
                self.heads, self.kv_heads
            )));
        }
        if let Some(window) = self.window {
            size("sliding_window", window, 1 << 30)?;
        }
        if let Some(rope) = &self.rope {
            rope.validate()?;
            if rope.dims > self.head_dim {
                return Err(invalid(format!("{} rotated features in heads of {}", rope.dims, self.head_dim)));
            }
        }
        if !self.scale.is_finite() {
            return Err(invalid(format!("the attention's scale is {}", self.scale)));
        }
        match (state, self.names.qkv) {
            (StateUse::SharedWith(_), QkvNames::Fused(name)) => {
                Err(invalid(format!("{name} has keys, and the layer those of another")))
            }
            _ => Ok(()),
        }
    }

    fn load(&self, hidden: i32, state: StateUse, path: &str, w: &Weights) -> Result<Box<dyn Mix>> {
        Ok(Box::new(Attention::load(self, hidden, state, path, w)?))
    }

    fn state(&self) -> LayerCacheSpec {
        match self.window {
            Some(window) => LayerCacheSpec::Window(window),
            None => LayerCacheSpec::Full { key_dim: self.head_dim, value_dim: self.head_dim },
        }
    }

    fn shared(&self) -> Option<SharedKv> {
        Some(SharedKv { kv_heads: self.kv_heads, head_dim: self.head_dim, window: self.window })
    }

    fn shape(&self, hidden: u64, state: StateUse) -> MixerShape {
        let [heads, kv_heads, dim] = [self.heads, self.kv_heads, self.head_dim].map(|n| n as u64);
        // Keys of another layer need neither projections nor norms.
        let made = if matches!(state, StateUse::SharedWith(_)) { 0 } else { kv_heads };
        let (queries, projected) = (heads * dim, (heads + 2 * made) * dim);
        let bias = match self.bias {
            AttentionBias::None => 0,
            AttentionBias::Qkv => projected,
            AttentionBias::All => projected + hidden,
        };
        let norms = match &self.qk_norm {
            QkNorm::None => 0,
            QkNorm::Head(norm) => norm.parameters(dim) * (1 + made.min(1)),
            QkNorm::Projection(norm) => norm.parameters(queries) + norm.parameters(made * dim),
            QkNorm::EachHead { .. } => (heads + made) * dim,
        };
        MixerShape {
            parameters: projected * hidden + queries * hidden + bias + norms,
            state: StateShape::KeysAndValues { each: 2 * kv_heads * dim, window: self.window.map(|n| n as u64) },
            results: vec![hidden, projected, queries],
        }
    }
}

struct Attention {
    heads: i32,
    kv_heads: i32,
    head_dim: i32,
    projections: Projections,
    output: Linear,
    norms: QkNorms,
    rope: Option<Rope>,
    params: AttentionParams,
    /// Norms, rotation and attention as one operation, where there are kernels for that.
    fused: Option<CachedAttention>,
}

enum Projections {
    All(Joint<3>),
    /// Keys and values are another layer's.
    Queries(Linear),
}

/// The norms of queries and of keys, of the latter where there are any.
enum QkNorms {
    None,
    Head(Norm, Option<Norm>),
    Projection(Norm, Option<Norm>),
    EachHead(Array, Option<Array>, f32),
}

impl Attention {
    fn load(spec: &AttentionSpec, hidden: i32, state: StateUse, path: &str, w: &Weights) -> Result<Attention> {
        let (heads, kv_heads, head_dim) = (spec.heads, spec.kv_heads, spec.head_dim);
        let names = &spec.names;
        let path = format!("{path}.{}", names.attention);
        let at = |name: &str| format!("{path}.{name}");
        let shares = matches!(state, StateUse::SharedWith(_));
        let bias = spec.bias != AttentionBias::None;
        let rows = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim];
        let projections = match names.qkv {
            QkvNames::Separate([q, k, v]) if shares => {
                // Published checkpoints have them all the same.
                let unused = [at(k), at(v), at(names.qk_norm[1])].map(|name| format!("{name}."));
                w.ignore(move |name| unused.iter().any(|prefix| name.starts_with(prefix)));
                Projections::Queries(Linear::load(w, &at(q), hidden, rows[0], bias)?)
            }
            QkvNames::Separate(each) => {
                let mut rows = rows.into_iter();
                let parts = each.map(|name| (at(name), rows.next().expect("three")));
                Projections::All(Joint::separate(w, parts, hidden, bias)?)
            }
            QkvNames::Fused(name) => Projections::All(Joint::fused(w, &at(name), rows, hidden, bias)?),
        };
        let [q_norm, k_norm] = names.qk_norm.map(at);
        let both = |sizes: [i32; 2], n| {
            let k = (!shares).then(|| Norm::load(w, &k_norm, sizes[1], n)).transpose()?;
            Result::Ok((Norm::load(w, &q_norm, sizes[0], n)?, k))
        };
        let norms = match spec.qk_norm {
            QkNorm::None => QkNorms::None,
            QkNorm::Head(n) => both([head_dim; 2], n).map(|(q, k)| QkNorms::Head(q, k))?,
            QkNorm::Projection(n) => both([rows[0], rows[1]], n).map(|(q, k)| QkNorms::Projection(q, k))?,
            QkNorm::EachHead { eps, weights } => {
                let k = (!shares).then(|| head_weights(w, &k_norm, kv_heads, head_dim, weights)).transpose()?;
                QkNorms::EachHead(head_weights(w, &q_norm, heads, head_dim, weights)?, k, eps)
            }
        };
        let rope = spec.rope.as_ref().map(Rope::new).transpose()?;
        let fused = if state == StateUse::Own { fused(spec, &norms, rope.as_ref()) } else { None };
        let output = Linear::load(w, &at(names.output), rows[0], hidden, spec.bias == AttentionBias::All)?;
        let params = AttentionParams { scale: spec.scale, softcap: spec.softcap };
        Ok(Attention { heads, kv_heads, head_dim, projections, output, norms, rope, params, fused })
    }

    /// From what the projections made, `[batch, length, heads * head_dim]`, to `[batch, heads, length, head_dim]`, with
    /// norm and rotation.
    fn prepare(&self, x: &Array, heads: i32, norm: HeadNorm, at: &At) -> Result<Array> {
        let x = self.split(x, heads)?;
        let x = match norm {
            HeadNorm::None => x,
            HeadNorm::Norm(norm) => norm.forward(&x)?,
            HeadNorm::Each(weight, eps) => (layer_norm(&x, None, None, eps)? * weight)?,
        };
        match &self.rope {
            Some(rope) => rope.apply(&x, at.offset),
            None => Ok(x),
        }
    }

    fn split(&self, x: &Array, heads: i32) -> Result<Array> {
        let (batch, length) = (x.dim(0), x.dim(1));
        match length {
            // One position needs no exchange of axes.
            1 => x.reshape(&[batch, heads, 1, self.head_dim]),
            _ => x.reshape(&[batch, length, heads, self.head_dim])?.swap_axes(1, 2),
        }
    }

    fn output(&self, out: &Array, onto: Option<Residual>) -> Result<Array> {
        let (batch, length) = (out.dim(0), out.dim(2));
        let out = if length == 1 { out.clone() } else { out.swap_axes(1, 2)? };
        Residual::add(onto, &self.output, &out.reshape(&[batch, length, self.heads * self.head_dim])?)
    }

    /// With the keys and values of another layer.
    fn read(&self, x: Input, at: &At, cache: &LayerCache, onto: Option<Residual>) -> Result<Array> {
        let Projections::Queries(layer) = &self.projections else {
            return Err(Error::internal("keys beside those of another layer"));
        };
        let mut q = layer.forward(&x.array()?)?;
        if let QkNorms::Projection(norm, _) = &self.norms {
            q = norm.forward(&q)?;
        }
        let q = self.prepare(&q, self.heads, self.norms.of_queries(), at)?;
        self.output(&cache.attend_again(&q, &at.mask, &self.params)?, onto)
    }
}

impl Mix for Attention {
    fn forward(&self, x: Input, at: &At, state: State, onto: Option<Residual>) -> Result<Array> {
        if let State::Shared(cache) = state {
            return self.read(x, at, cache, onto);
        }
        let Projections::All(projections) = &self.projections else {
            return Err(Error::internal("attention without keys"));
        };
        let [mut q, mut k, v] = projections.forward(x)?;
        if let QkNorms::Projection(q_norm, Some(k_norm)) = &self.norms {
            (q, k) = (q_norm.forward(&q)?, k_norm.forward(&k)?);
        }
        let State::Own(cache) = state else {
            let (q, k) = (
                self.prepare(&q, self.heads, self.norms.of_queries(), at)?,
                self.prepare(&k, self.kv_heads, self.norms.of_keys(), at)?,
            );
            return self.output(&attend(&q, &k, &self.split(&v, self.kv_heads)?, &at.mask, &self.params)?, onto);
        };
        if let Some(fused) = self.fused.as_ref().filter(|_| at.offset.is_sequential())
            && let Some(out) = cache.attend_fused(fused, &q, &k, &v, &at.mask)
        {
            return Residual::add(onto, &self.output, &out?);
        }
        let q = self.prepare(&q, self.heads, self.norms.of_queries(), at)?;
        let k = self.prepare(&k, self.kv_heads, self.norms.of_keys(), at)?;
        let out = cache.attend(&q, &k, &self.split(&v, self.kv_heads)?, &at.mask, &self.params)?;
        self.output(&out, onto)
    }
}

/// A norm over the features of a head.
enum HeadNorm<'a> {
    None,
    Norm(&'a Norm),
    /// Weights of each head, and epsilon.
    Each(&'a Array, f32),
}

impl QkNorms {
    fn of_queries(&self) -> HeadNorm<'_> {
        match self {
            // Norms over whole projections come before.
            QkNorms::None | QkNorms::Projection(..) => HeadNorm::None,
            QkNorms::Head(q, _) => HeadNorm::Norm(q),
            QkNorms::EachHead(q, _, eps) => HeadNorm::Each(q, *eps),
        }
    }

    fn of_keys(&self) -> HeadNorm<'_> {
        match self {
            QkNorms::Head(_, Some(k)) => HeadNorm::Norm(k),
            QkNorms::EachHead(_, Some(k), eps) => HeadNorm::Each(k, *eps),
            _ => HeadNorm::None,
        }
    }
}

/// What stands between the projections and the output as one operation, if all of it can be.
fn fused(spec: &AttentionSpec, norms: &QkNorms, rope: Option<&Rope>) -> Option<CachedAttention> {
    let norms = match norms {
        // Norms over whole projections come before.
        QkNorms::None | QkNorms::Projection(..) => None,
        QkNorms::Head(q, k) => {
            let ((eps, q), (_, k)) = (q.rms()?, k.as_ref()?.rms()?);
            Some((eps, q.clone(), k.clone()))
        }
        QkNorms::EachHead(..) => return None,
    };
    let rotation = match rope {
        Some(rope) => Some(rope.rotation()?.clone()),
        None => None,
    };
    (cpu::active() || cuda::active()).then(|| CachedAttention {
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        scale: spec.scale,
        softcap: spec.softcap,
        norms,
        rotation,
        prepared: Default::default(),
    })
}

/// The norm weights of all heads, `[heads, 1, head_dim]`.
fn head_weights(w: &Weights, path: &str, heads: i32, dim: i32, stored: HeadWeights) -> Result<Array> {
    match stored {
        HeadWeights::Matrix => w.derived(&format!("{path}.weight"), &[heads, dim], |a| a.expand_dims(1)),
        HeadWeights::List => {
            let names: Vec<String> = (0..heads).map(|h| format!("{path}.norms.{h}.weight")).collect();
            w.joined(&names, &[dim], |parts| stack(parts, 0)?.expand_dims(1))
        }
    }
}
