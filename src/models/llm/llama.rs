//! Llama 1 to 3, Mistral, and what shares their shape.

use serde::Deserialize;
use serde_json::Value;

use crate::error::Result;
use crate::models::config::{self, defaults};
use crate::models::decoder::{AttentionBias, AttentionSpec, DecoderSpec, Ffn, Head, LayerSpec, Projection};
use crate::nn::rope::RopeScaling;
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};

#[derive(Deserialize)]
pub struct Config {
    pub hidden_size: i32,
    pub num_hidden_layers: i32,
    pub intermediate_size: i32,
    pub num_attention_heads: i32,
    pub num_key_value_heads: Option<i32>,
    pub head_dim: Option<i32>,
    pub vocab_size: i32,
    pub rms_norm_eps: f32,
    pub max_position_embeddings: Option<i32>,
    #[serde(default)]
    pub attention_bias: bool,
    #[serde(default)]
    pub mlp_bias: bool,
    #[serde(default = "defaults::rope_theta")]
    pub rope_theta: f32,
    #[serde(default)]
    pub rope_traditional: bool,
    pub rope_scaling: Option<Value>,
    #[serde(default = "defaults::yes")]
    pub tie_word_embeddings: bool,
    pub layer_types: Option<Vec<String>>,
    pub sliding_window: Option<i32>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Config = config::parse(config)?;
    // A window counts only where layer_types names the layers that have it.
    let types = match &c.layer_types {
        Some(types) => types.clone(),
        None => vec![String::new(); config::layer_count(c.num_hidden_layers)?],
    };
    config::layer_count(types.len() as i32)?;
    let layers = types
        .iter()
        .map(|kind| {
            let mut attention = c.attention()?;
            attention.window = c.sliding_window.filter(|_| kind == "sliding_attention");
            Ok(LayerSpec::pre_norm(attention, c.ffn()))
        })
        .collect::<Result<_>>()?;
    Ok(c.decoder(layers))
}

impl Config {
    pub fn attention(&self) -> Result<AttentionSpec> {
        let head_dim = match self.head_dim {
            Some(dim) if dim > 0 => dim,
            _ => config::head_dim(self.hidden_size, self.num_attention_heads)?,
        };
        let rope = RopeSpec {
            dims: head_dim,
            interleaved: self.rope_traditional,
            base: self.rope_theta,
            scaling: RopeScaling::parse(self.rope_scaling.as_ref(), self.max_position_embeddings)?,
        };
        let kv_heads = self.num_key_value_heads.unwrap_or(self.num_attention_heads);
        let mut attention = AttentionSpec::new(self.num_attention_heads, kv_heads, head_dim, rope);
        attention.bias = AttentionBias::all_if(self.attention_bias);
        Ok(attention)
    }

    pub fn ffn(&self) -> Ffn {
        Ffn::Gated {
            size: self.intermediate_size,
            activation: Activation::Silu,
            gate_up: Projection::Separate,
            bias: self.mlp_bias,
        }
    }

    pub fn norm(&self) -> NormSpec {
        NormSpec { kind: NormKind::Rms, eps: self.rms_norm_eps }
    }

    pub fn decoder(&self, layers: Vec<LayerSpec>) -> DecoderSpec {
        let head = Head::tied_if(self.tie_word_embeddings);
        DecoderSpec {
            context_length: self.max_position_embeddings,
            ..DecoderSpec::new(self.vocab_size, self.hidden_size, layers, self.norm(), head)
        }
    }
}
