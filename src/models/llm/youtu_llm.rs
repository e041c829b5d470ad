//! Youtu-LLM: latent attention with Llama's feed-forward layers.

use serde_json::{Value, json};

use super::latent::Latent;
use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, LayerSpec};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({"rms_norm_eps": 1e-6, "rope_theta": 1.6e6, "rope_traditional": true, "tie_word_embeddings": true,
            "kv_lora_rank": 512, "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128}),
    );
    let (c, latent): (Common, Latent) = (config::parse(config)?, config::parse(config)?);
    let mut mla = latent.attention(&c, c.rms_norm()?.eps)?;
    if let Some(rope) = &mut mla.rope {
        rope.interleaved = c.rope_traditional;
    }
    let layer = LayerSpec::pre_norm(mla, llama::ffn(&c), c.rms_norm()?);
    llama::decoder(&c, vec![layer; c.layer_count()?])
}
