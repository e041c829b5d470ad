//! Llama 1 to 3, Mistral, and what shares their shape.

use serde_json::Value;

use crate::error::Result;
use crate::models::config::{self, Common, SLIDING};
use crate::models::decoder::{AttentionBias, AttentionSpec, DecoderSpec, GatedSpec, Head, LayerSpec};
use crate::nn::Activation;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Common = config::parse(config)?;
    decoder(&c, layers(&c, |_, _| ())?)
}

/// The layers, their attention changed by `adapt`. A window counts only where layer_types names the layers that have it.
pub fn layers(c: &Common, adapt: impl Fn(usize, &mut AttentionSpec)) -> Result<Vec<LayerSpec>> {
    let types = match &c.layer_types {
        Some(types) => types.clone(),
        None => vec![String::new(); c.layer_count()?],
    };
    config::layer_count(types.len() as i32)?;
    let layer = |(i, kind): (usize, &String)| {
        let mut attention = attention(c)?;
        attention.window = c.sliding_window.filter(|_| kind == SLIDING);
        adapt(i, &mut attention);
        Ok(LayerSpec::pre_norm(attention, ffn(c), c.rms_norm()?))
    };
    types.iter().enumerate().map(layer).collect()
}

/// Attention with the biases that `attention_bias` says.
pub fn attention(c: &Common) -> Result<AttentionSpec> {
    let head_dim = c.head_dim()?;
    let rope = c.rope(head_dim, Some(10_000.0))?;
    let mut attention = AttentionSpec::new(c.num_attention_heads, c.kv_heads(), head_dim, rope);
    attention.bias = AttentionBias::all_if(c.attention_bias);
    Ok(attention)
}

/// SwiGLU with the biases that `mlp_bias` says.
pub fn ffn(c: &Common) -> GatedSpec {
    GatedSpec { bias: c.mlp_bias, ..GatedSpec::new(c.intermediate_size, Activation::Silu) }
}

/// RMS norms; as in the reference, the output layer is tied by default.
pub fn decoder(c: &Common, layers: Vec<LayerSpec>) -> Result<DecoderSpec> {
    let head = Head::tied_if(c.tie_word_embeddings.unwrap_or(true));
    Ok(DecoderSpec {
        context_length: c.max_position_embeddings,
        ..DecoderSpec::new(c.vocab_size, c.hidden_size, layers, c.rms_norm()?, head)
    })
}
