//! MiniCPM 3: latent attention, with MiniCPM's scales on embeddings, residuals and logits.
//!
//! Logits are scaled whether the output layer is tied or not, as in the published code; mlx-lm 0.32.2 scales them only where
//! it is not.

use serde::Deserialize;
use serde_json::{Value, json};

use super::latent::Latent;
use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, LayerSpec, MlaSpec};

#[derive(Deserialize)]
struct Config {
    dim_model_base: f32,
    scale_depth: f32,
    scale_emb: f32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let c: Common = config::parse(config)?;
    let defaults = json!({"rope_theta": 1e6, "tie_word_embeddings": false, "v_head_dim": c.head_dim()?});
    let config = &config::with_defaults(config, defaults);
    let (c, own, latent): (Common, Config, Latent) =
        (config::parse(config)?, config::parse(config)?, config::parse(config)?);
    let mut mla = latent.attention(&c, 1e-5)?;
    mla.scale = MlaSpec::scale(latent.qk_nope_head_dim, latent.qk_rope_head_dim, None);
    if let Some(rope) = &mut mla.rope {
        rope.interleaved = c.rope_traditional;
    }
    let count = c.layer_count()?;
    let mut layer = LayerSpec::pre_norm(mla, llama::ffn(&c), c.rms_norm()?);
    let scale = Some(own.scale_depth / (count as f32).sqrt());
    (layer.attend.scale, layer.feed.scale) = (scale, scale);
    Ok(DecoderSpec {
        embedding_scale: Some(own.scale_emb),
        logit_scale: Some(own.dim_model_base / c.hidden_size as f32),
        ..llama::decoder(&c, vec![layer; count])?
    })
}
