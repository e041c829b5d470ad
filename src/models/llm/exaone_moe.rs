//! K-EXAONE: windows, with rotation in these layers only, norms on queries and keys, and the experts of DeepSeek V3.

use serde::Deserialize;
use serde_json::{Value, json};

use super::deepseek_v3::{self, Experts};
use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common, SLIDING};
use crate::models::decoder::{DecoderSpec, Head, QkNorm};
use crate::weights::Weights;

#[derive(Deserialize)]
struct Config {
    is_moe_layer: Vec<bool>,
    layer_types: Vec<String>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let shared = config.get("num_shared_experts");
    let defaults = json!({"n_shared_experts": shared, "routed_scaling_factor": 2.5, "rope_theta": 1e6});
    let config = &deepseek_v3::with_defaults(&config::with_defaults(config, defaults));
    let (c, own, mut experts): (Common, Config, Experts) =
        (config::parse(config)?, config::parse(config)?, config::parse(config)?);
    experts.first_k_dense_replace = 0;
    let norm = QkNorm::Head(c.rms_norm()?);
    let everywhere = !own.layer_types.iter().any(|kind| kind == SLIDING);
    let mut layers = llama::layers(&c, |_, attention| {
        attention.qk_norm = norm.clone();
        attention.rope = attention.rope.take().filter(|_| everywhere || attention.window.is_some());
    })?;
    for (i, layer) in layers.iter_mut().enumerate() {
        if own.is_moe_layer.get(i) == Some(&true) {
            layer.feed.what = experts.ffn(&c, experts.sigmoid(), 0);
        }
    }
    Ok(DecoderSpec { head: Head::tied_if(c.tie_word_embeddings == Some(true)), ..llama::decoder(&c, layers)? })
}

/// Published: the correction is beside the router; further layers predict further tokens.
pub fn sanitize(_: &Value, w: &Weights) -> Result<()> {
    w.rename(|name| match name.strip_suffix(".mlp.e_score_correction_bias") {
        Some(layer) => Some(format!("{layer}.mlp.gate.e_score_correction_bias")),
        None => (!name.starts_with("mtp.")).then(|| name.to_owned()),
    })
}
