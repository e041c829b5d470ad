//! dots.llm1: norms on queries and keys, and the experts of DeepSeek V3.

use serde_json::Value;

use super::deepseek_v3::{self, Experts};
use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, DecoderSpec, Ffn, QkNorm};

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &deepseek_v3::with_defaults(config);
    let (c, experts): (Common, Experts) = (config::parse(config)?, config::parse(config)?);
    let mut attention = llama::attention(&c)?;
    attention.bias = AttentionBias::None;
    attention.qk_norm = QkNorm::Head(c.rms_norm()?);
    let mut spec = deepseek_v3::decoder(&c, &experts, attention, experts.sigmoid())?;
    for layer in &mut spec.layers {
        match &mut layer.feed.what {
            Ffn::Moe(moe) => {
                moe.experts.names.stacked = "experts";
                moe.shared.iter_mut().for_each(|shared| shared.layer.bias = c.mlp_bias);
            }
            Ffn::Gated(gated) => gated.bias = c.mlp_bias,
            _ => {}
        }
    }
    Ok(spec)
}
