//! Lille 130M: Llama with interleaved RoPE and fused projections, the norms within the sublayers.

use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{
    AttentionNames, DecoderSpec, GatedSpec, Head, LayerSpec, Names, NormAt, QkvNames, SubLayer,
};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let names = [
        ("n_embd", "hidden_size"),
        ("n_head", "num_attention_heads"),
        ("n_kv_heads", "num_key_value_heads"),
        ("n_layer", "num_hidden_layers"),
        ("layer_norm_eps", "rms_norm_eps"),
        ("block_size", "max_position_embeddings"),
    ];
    let config = config::renamed(config, &names);
    let mut c: Common = config::parse(&config::with_defaults(&config, json!({"rope_traditional": true})))?;
    config::size("n_embd", c.hidden_size, 1 << 18)?;
    // The multiple of 256 that is nearest to 8/3 of the width.
    let whole = f64::from((8.0 * f64::from(c.hidden_size) / 3.0) as i32);
    c.intermediate_size = 256 * (whole / 256.0).round_ties_even() as i32;
    let norm = c.rms_norm()?;
    let mut attention = llama::attention(&c)?;
    attention.names = AttentionNames {
        attention: "attention",
        qkv: QkvNames::Fused("qkv_proj"),
        output: "out_proj",
        ..AttentionNames::default()
    };
    let ffn = GatedSpec { name: "feed_forward", ..llama::ffn(&c) };
    let (attend, feed) = (SubLayer::bare(attention), SubLayer::bare(ffn));
    let layer = LayerSpec::new(attend.before("attention.norm", norm), feed.before("feed_forward.norm", norm));
    Ok(DecoderSpec {
        norm: NormAt { name: "transformer.norm", spec: norm },
        head: Head::Tied,
        names: Names { embedding: "transformer.tok_embeddings", layers: "transformer.layers", head: "lm_head" },
        ..llama::decoder(&c, vec![layer; c.layer_count()?])?
    })
}
