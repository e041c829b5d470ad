//! DeepSeek V2: latent attention, and experts chosen by a softmax, within groups of which the best expert counts.

use serde::Deserialize;
use serde_json::{Value, json};

use super::deepseek_v3::{self, Experts};
use super::latent::Latent;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::DecoderSpec;
use crate::nn::{GroupScore, RouterSpec};

#[derive(Deserialize)]
struct Method {
    #[serde(default)]
    topk_method: String,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    // As in transformers and mlx-lm, `norm_topk_prob` changes nothing: no published model sets it.
    let config = &deepseek_v3::with_defaults(&config::with_defaults(config, json!({"norm_topk_prob": false})));
    let (c, latent, experts): (Common, Latent, Experts) =
        (config::parse(config)?, config::parse(config)?, config::parse(config)?);
    let limited = config::parse::<Method>(config)?.topk_method == "group_limited_greedy";
    let router = RouterSpec {
        groups: experts.groups(GroupScore::Best).filter(|_| limited),
        scale: Some(experts.routed_scaling_factor),
        ..RouterSpec::softmax(experts.num_experts_per_tok, false)
    };
    deepseek_v3::decoder(&c, &experts, latent.attention(&c, 1e-6)?, router)
}
