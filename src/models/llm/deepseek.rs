//! DeepSeek MoE, the first: Llama with many small experts, of which some are shared.

use serde_json::{Value, json};

use super::deepseek_v3::{self, Experts};
use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::DecoderSpec;
use crate::nn::RouterSpec;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    // The published code heeds `norm_topk_prob`, mlx-lm 0.32.2 does not; the published model has false.
    let config = &deepseek_v3::with_defaults(&config::with_defaults(config, json!({"norm_topk_prob": false})));
    let (c, experts): (Common, Experts) = (config::parse(config)?, config::parse(config)?);
    let router = RouterSpec::softmax(experts.num_experts_per_tok, experts.norm_topk_prob);
    deepseek_v3::decoder(&c, &experts, llama::attention(&c)?, router)
}
