//! What each layer gets of a token besides the residual stream (Gemma 3n and 4): rows of a second embedding, mixed with a
//! projection of the first.

use crate::array::Array;
use crate::error::Result;
use crate::models::config::size;
use crate::nn::{Activation, Embedding, Input, Linear, Norm, NormKind, NormSpec};
use crate::weights::Weights;

/// Embeddings for every layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerLayerSpec {
    /// Rows of their table. Tokens from there on have those of token 0.
    pub vocab_size: i32,
    /// Features for a layer.
    pub size: i32,
    /// The epsilon of the projection's norm.
    pub eps: f32,
}

impl PerLayerSpec {
    pub(super) fn validate(&self) -> Result<()> {
        size("vocab_size_per_layer_input", self.vocab_size, 1 << 24)?;
        size("hidden_size_per_layer_input", self.size, 1 << 16)
    }

    pub(super) fn parameters(&self, hidden: u64, layers: u64) -> u64 {
        let size = self.size as u64;
        layers * size * (self.vocab_size as u64 + hidden) + size
    }
}

/// How a layer adds its own to the residual stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerLayerGate {
    /// Features it gets.
    pub size: i32,
    /// The epsilon of its norm.
    pub eps: f32,
}

impl PerLayerGate {
    pub(super) fn parameters(&self, hidden: u64) -> u64 {
        2 * hidden * self.size as u64 + hidden
    }
}

/// The embeddings for every layer, with their weights.
pub struct PerLayer {
    spec: PerLayerSpec,
    layers: i32,
    hidden: i32,
    table: Embedding,
    projection: Linear,
    norm: Norm,
}

impl PerLayer {
    pub fn load(spec: PerLayerSpec, hidden: i32, layers: usize, w: &Weights) -> Result<PerLayer> {
        let layers = layers as i32;
        let norm = NormSpec { kind: NormKind::Rms, eps: spec.eps };
        Ok(PerLayer {
            spec,
            layers,
            hidden,
            table: Embedding::load(w, "model.embed_tokens_per_layer", spec.vocab_size, layers * spec.size)?,
            projection: Linear::load(w, "model.per_layer_model_projection", hidden, layers * spec.size, false)?,
            norm: Norm::load(w, "model.per_layer_projection_norm", spec.size, norm)?,
        })
    }

    /// What each layer gets, `[rows, length, size]`, of `tokens` and their embeddings `h`.
    pub fn of(&self, tokens: &Array, h: &Array) -> Result<Vec<Array>> {
        let (size, layers) = (self.spec.size, self.layers);
        let known = tokens.less(&Array::scalar(self.spec.vocab_size as f32, tokens.dtype())?)?;
        let tokens = tokens.where_(&known, &Array::scalar(0.0, tokens.dtype())?)?;
        let by_layer = |a: Array| a.reshape(&[a.dim(0), a.dim(1), layers, size]);
        let own = by_layer((self.table.forward(&tokens)? * (size as f32).sqrt())?)?;
        let projected = (self.projection.forward(h)? * (self.hidden as f32).powf(-0.5))?;
        let all = ((self.norm.forward(&by_layer(projected)?)? + own)? * std::f32::consts::FRAC_1_SQRT_2)?;
        all.split(layers, 2)?.into_iter().map(|one| one.squeeze_axis(2)).collect()
    }
}

/// The addition to the residual stream, with its weights.
pub struct LayerGate {
    gate: Linear,
    projection: Linear,
    norm: Norm,
}

impl LayerGate {
    pub fn load(spec: PerLayerGate, hidden: i32, path: &str, w: &Weights) -> Result<LayerGate> {
        let norm = NormSpec { kind: NormKind::Rms, eps: spec.eps };
        Ok(LayerGate {
            gate: Linear::load(w, &format!("{path}.per_layer_input_gate"), hidden, spec.size, false)?,
            projection: Linear::load(w, &format!("{path}.per_layer_projection"), spec.size, hidden, false)?,
            norm: Norm::load(w, &format!("{path}.post_per_layer_input_norm"), hidden, norm)?,
        })
    }

    /// What is added to the residual stream, of a state `x` of the layer and what it gets besides.
    pub fn of(&self, x: &Array, beside: &Array) -> Result<Array> {
        let gated = (self.gate.activated(Activation::GeluTanh, Input::plain(x))? * beside)?;
        self.norm.forward(&self.projection.forward(&gated)?)
    }

    /// `x` and what is added to it.
    pub fn add(&self, x: &Array, beside: &Array) -> Result<Array> {
        x + self.of(x, beside)?
    }
}
