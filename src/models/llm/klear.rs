//! Klear: norms on queries and keys, and experts whose results are mixed with that of a shared one.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common, invalid};
use crate::models::decoder::{DecoderSpec, Head, MoeSpec, QkNorm, SharedExpert, SharedGate};
use crate::nn::{ExpertNames, ExpertsSpec, RouterBias, RouterSpec, Score};

#[derive(Deserialize)]
struct Config {
    num_experts: i32,
    num_experts_per_tok: i32,
    n_shared_experts: i32,
    moe_intermediate_size: i32,
    decoder_sparse_step: usize,
    mlp_only_layers: Vec<usize>,
    norm_topk_prob: bool,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    if own.decoder_sparse_step < 1 {
        return Err(invalid("decoder_sparse_step is 0, less than 1".into()));
    }
    let router = RouterSpec {
        score: Score::Sigmoid,
        bias: RouterBias::Choice("expert_bias"),
        ..RouterSpec::softmax(own.num_experts_per_tok, own.norm_topk_prob)
    };
    let experts = ExpertsSpec {
        names: ExpertNames { stacked: "experts", ..ExpertNames::default() },
        ..ExpertsSpec::new(own.num_experts, own.moe_intermediate_size)
    };
    let size = own.n_shared_experts.saturating_mul(own.moe_intermediate_size);
    let shared =
        SharedExpert { gate: SharedGate::Softmax("coefficient"), ..SharedExpert::plain("shared_experts", size) };
    let moe = MoeSpec { shared: Some(shared), ..MoeSpec::new(router, experts) };
    let norm = QkNorm::Head(c.rms_norm()?);
    let mut layers = llama::layers(&c, |_, attention| attention.qk_norm = norm.clone())?;
    for (i, layer) in layers.iter_mut().enumerate() {
        let sparse = own.num_experts > 0 && (i + 1).is_multiple_of(own.decoder_sparse_step);
        if sparse && !own.mlp_only_layers.contains(&i) {
            layer.feed.what = moe.clone().into();
        }
    }
    Ok(DecoderSpec { head: Head::Separate, ..llama::decoder(&c, layers)? })
}
