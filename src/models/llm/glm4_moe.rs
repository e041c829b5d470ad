//! GLM 4.5 to 4.7: partial rotation, and the experts of DeepSeek V3.

use serde::Deserialize;
use serde_json::Value;

use super::deepseek_v3::{self, Experts};
use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionBias, DecoderSpec, QkNorm};

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    use_qk_norm: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &deepseek_v3::with_defaults(config);
    let (c, own, experts): (Common, Config, Experts) =
        (config::parse(config)?, config::parse(config)?, config::parse(config)?);
    let mut attention = llama::attention(&c)?;
    if c.attention_bias {
        attention.bias = AttentionBias::Qkv;
    }
    if own.use_qk_norm {
        attention.qk_norm = QkNorm::Head(c.rms_norm()?);
    }
    deepseek_v3::decoder(&c, &experts, attention, experts.sigmoid())
}
