//! Gemma 2: norms before and after, scores and logits softly capped.
//!
//! The published model also alternates windows; as in mlx-lm 0.32.2 every layer sees everything.

use serde::Deserialize;
use serde_json::{Value, json};

use super::gemma;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, GatedSpec, LayerSpec};
use crate::nn::Activation;

#[derive(Deserialize)]
struct Config {
    attn_logit_softcapping: f32,
    final_logit_softcapping: f32,
    query_pre_attn_scalar: f32,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 144.0}),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let mut attention = gemma::attention(&c)?;
    attention.scale = 1.0 / own.query_pre_attn_scalar.sqrt();
    attention.softcap = Some(own.attn_logit_softcapping);
    let ffn = GatedSpec::new(c.intermediate_size, Activation::GeluTanh);
    let layer = LayerSpec::sandwich(attention, ffn, gemma::norm(&c)?);
    Ok(DecoderSpec {
        logit_softcap: Some(own.final_logit_softcapping),
        ..gemma::decoder(&c, vec![layer; c.layer_count()?])?
    })
}
