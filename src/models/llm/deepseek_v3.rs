//! DeepSeek V3 and R1, Kimi K2: latent attention, and experts chosen by sigmoids with a correction, within groups.

use serde::Deserialize;
use serde_json::{Value, json};

use super::latent::Latent;
use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common};
use crate::models::decoder::{DecoderSpec, Ffn, GatedSpec, Head, LayerSpec, Mixer, MoeSpec, SharedExpert};
use crate::nn::{Activation, ExpertsSpec, GroupScore, Groups, RouterBias, RouterSpec, Score};

/// The keys of experts.
#[derive(Deserialize)]
pub struct Experts {
    pub n_routed_experts: Option<i32>,
    pub n_shared_experts: Option<i32>,
    pub moe_intermediate_size: i32,
    pub num_experts_per_tok: i32,
    pub norm_topk_prob: bool,
    pub routed_scaling_factor: f32,
    pub n_group: i32,
    pub topk_group: i32,
    pub first_k_dense_replace: usize,
    pub moe_layer_freq: usize,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let config = &with_defaults(config);
    let (c, latent, experts): (Common, Latent, Experts) =
        (config::parse(config)?, config::parse(config)?, config::parse(config)?);
    let mla = latent.attention(&c, 1e-6)?;
    decoder(&c, &experts, mla, experts.sigmoid())
}

/// With the defaults of the reference, but for sizes.
pub fn with_defaults(config: &Value) -> Value {
    config::with_defaults(
        config,
        json!({"rms_norm_eps": 1e-6, "tie_word_embeddings": false, "routed_scaling_factor": 1.0, "norm_topk_prob": true,
            "n_group": 1, "topk_group": 1, "num_experts_per_tok": 1, "moe_layer_freq": 1, "first_k_dense_replace": 0,
            "moe_intermediate_size": 1407, "max_position_embeddings": 2048}),
    )
}

/// One mixer everywhere; experts from the first layer on that is not dense, in every so many layers.
pub fn decoder(c: &Common, experts: &Experts, mixer: impl Into<Mixer>, router: RouterSpec) -> Result<DecoderSpec> {
    let mixer = mixer.into();
    let layer = |i| Ok(LayerSpec::pre_norm(mixer.clone(), experts.ffn(c, router.clone(), i), c.rms_norm()?));
    let layers = (0..c.layer_count()?).map(layer).collect::<Result<_>>()?;
    let head = Head::tied_if(c.tie_word_embeddings.unwrap_or(false));
    Ok(DecoderSpec { head, ..llama::decoder(c, layers)? })
}

impl Experts {
    /// Sigmoids with a correction of the choice; experts outside of the best groups count as 0.
    pub fn sigmoid(&self) -> RouterSpec {
        RouterSpec {
            score: Score::Sigmoid,
            bias: RouterBias::Choice("gate.e_score_correction_bias"),
            groups: self.groups(GroupScore::BestTwo),
            scale: Some(self.routed_scaling_factor),
            ..RouterSpec::softmax(self.num_experts_per_tok, self.norm_topk_prob && self.num_experts_per_tok > 1)
        }
    }

    /// The groups, if there are several.
    pub fn groups(&self, score: GroupScore) -> Option<Groups> {
        let groups = Groups { count: self.n_group, top_k: self.topk_group, score, excluded: 0.0 };
        (self.n_group > 1).then_some(groups)
    }

    /// The feed-forward part of a layer.
    pub fn ffn(&self, c: &Common, router: RouterSpec, layer: usize) -> Ffn {
        let sparse = layer >= self.first_k_dense_replace && layer.is_multiple_of(self.moe_layer_freq.max(1));
        let Some(num_experts) = self.n_routed_experts.filter(|_| sparse) else {
            return GatedSpec::new(c.intermediate_size, Activation::Silu).into();
        };
        let experts = ExpertsSpec::new(num_experts, self.moe_intermediate_size);
        let shared = self.n_shared_experts.filter(|n| *n > 0);
        let shared =
            shared.map(|n| SharedExpert::plain("shared_experts", n.saturating_mul(self.moe_intermediate_size)));
        MoeSpec { shared, ..MoeSpec::new(router, experts) }.into()
    }
}
