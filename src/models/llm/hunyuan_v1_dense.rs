//! Hunyuan, dense: Llama with norms of each head after the rotation.

use serde::Deserialize;
use serde_json::{Value, json};

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{AttentionNames, DecoderSpec, QkNorm};
use crate::nn::rope::RopeScaling;

#[derive(Deserialize)]
struct Config {
    use_qk_norm: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &config::with_defaults(
        config,
        json!({"use_qk_norm": true, "tie_word_embeddings": false, "max_position_embeddings": 32_768}),
    );
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let (norm, alpha) = (c.rms_norm()?, c.rope_setting("alpha")?);
    let layers = llama::layers(&c, |_, attention| {
        if own.use_qk_norm {
            attention.qk_norm = QkNorm::AfterRotation(norm);
            attention.names =
                AttentionNames { qk_norm: ["query_layernorm", "key_layernorm"], ..AttentionNames::default() };
        }
        // "dynamic" with an alpha is a base that is larger once and for all.
        if let (Some(rope), Some(alpha)) = (&mut attention.rope, alpha) {
            let dims = rope.dims as f32;
            rope.base *= alpha.powf(dims / (dims - 2.0));
            rope.scaling = RopeScaling::None;
        }
    })?;
    llama::decoder(&c, layers)
}
