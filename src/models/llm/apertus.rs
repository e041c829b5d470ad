//! Apertus: Llama with norms of each head and xIELU.

use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, LayerSpec, QkNorm, SubLayer, XieluSpec};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Common = config::parse(&config::with_defaults(config, json!({"tie_word_embeddings": false})))?;
    let norm = c.rms_norm()?;
    let mut attention = llama::attention(&c)?;
    attention.qk_norm = QkNorm::Head(norm);
    let ffn = XieluSpec { size: c.intermediate_size, bias: c.mlp_bias };
    let (attend, feed) = (SubLayer::bare(attention), SubLayer::bare(ffn));
    let layer = LayerSpec::new(attend.before("attention_layernorm", norm), feed.before("feedforward_layernorm", norm));
    llama::decoder(&c, vec![layer; c.layer_count()?])
}
