//! GLM 4.7 Flash: DeepSeek V3 with the configuration's epsilon in every norm.

use serde_json::{Value, json};

use super::deepseek_v3::{self, Experts};
use super::latent::Latent;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::DecoderSpec;

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &deepseek_v3::with_defaults(&config::with_defaults(
        config,
        json!({"rms_norm_eps": 1e-5, "routed_scaling_factor": 1.8, "num_experts_per_tok": 4, "n_shared_experts": 1, "first_k_dense_replace": 1,
            "rope_theta": 1e6, "max_position_embeddings": 202_752}),
    ));
    let (c, latent, experts): (Common, Latent, Experts) =
        (config::parse(config)?, config::parse(config)?, config::parse(config)?);
    let mla = latent.attention(&c, c.rms_norm()?.eps)?;
    deepseek_v3::decoder(&c, &experts, mla, experts.sigmoid())
}
