//! A gated layer and a mixture of experts side by side, each between its own norms (Gemma 4).

use super::gated::{Gated, GatedSpec};
use super::kind::{Feed, FfnShape, FfnSpec};
use crate::array::Array;
use crate::error::Result;
use crate::models::config::size;
use crate::models::decoder::pass::Residual;
use crate::models::shape::OnDevice;
use crate::nn::{Activation, ExpertNames, Experts, ExpertsSpec, Input, Norm, NormKind, NormSpec, Router, RouterSpec};
use crate::weights::Weights;

/// A gated layer and a mixture of experts. The input is the residual stream, not normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct BesideSpec {
    /// The layer that every position uses.
    pub dense: GatedSpec,
    /// Experts.
    pub num_experts: i32,
    /// How many of them a position uses.
    pub top_k: i32,
    /// Intermediate size of an expert.
    pub expert_size: i32,
    /// The epsilon of the norms.
    pub eps: f32,
}

impl BesideSpec {
    fn router(&self) -> RouterSpec {
        RouterSpec {
            name: "router.proj",
            expert_scale: Some("router.per_expert_scale"),
            ..RouterSpec::softmax(self.top_k, true)
        }
    }

    fn experts(&self) -> ExpertsSpec {
        ExpertsSpec {
            num_experts: self.num_experts,
            intermediate_size: self.expert_size,
            activation: Activation::GeluTanh,
            bias: false,
            names: ExpertNames { stacked: "experts.switch_glu", ..ExpertNames::default() },
        }
    }
}

impl FfnSpec for BesideSpec {
    fn validate(&self) -> Result<()> {
        self.dense.validate()?;
        size("num_experts", self.num_experts, 1 << 12)?;
        size("moe_intermediate_size", self.expert_size, 1 << 20)?;
        self.router().validate(self.num_experts)
    }

    fn load(&self, hidden: i32, path: &str, w: &Weights) -> Result<Box<dyn Feed>> {
        let rms = NormSpec { kind: NormKind::Rms, eps: self.eps };
        let norm = |name: &str| Norm::load(w, &format!("{path}.{name}"), hidden, rms);
        Ok(Box::new(Beside {
            before_dense: norm("pre_feedforward_layernorm")?,
            dense: self.dense.build(hidden, path, w)?,
            after_dense: norm("post_feedforward_layernorm_1")?,
            before_router: Norm::scaled(w, &format!("{path}.router.scale"), hidden, rms, (hidden as f32).powf(-0.5))?,
            router: Router::load(w, path, &self.router(), hidden, self.num_experts)?,
            before_experts: norm("pre_feedforward_layernorm_2")?,
            experts: Experts::load(w, path, &self.experts(), hidden)?,
            after_experts: norm("post_feedforward_layernorm_2")?,
        }))
    }

    fn shape(&self, hidden: u64) -> FfnShape {
        let (count, size, top_k) = (self.num_experts as u64, self.expert_size as u64, self.top_k as u64);
        let dense = self.dense.shape(hidden);
        let parameters = count * (3 * size * hidden + hidden + 1) + 5 * hidden;
        let both = dense.inner.cpu + count + 3 * hidden;
        let inner = OnDevice { cpu: both, gpu: both + top_k * (2 * size + 2 * hidden) };
        FfnShape { parameters: dense.parameters + parameters, inner }
    }
}

struct Beside {
    before_dense: Norm,
    dense: Gated,
    after_dense: Norm,
    before_router: Norm,
    router: Router,
    before_experts: Norm,
    experts: Experts,
    after_experts: Norm,
}

impl Feed for Beside {
    fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array> {
        let x = x.array()?;
        let dense = self.after_dense.forward(&self.dense.forward(Input::normed(&x, &self.before_dense), None)?)?;
        let logits = self.router.logits(&self.before_router.forward(&x)?)?;
        let experts = self.experts.forward(&self.before_experts.forward(&x)?, &self.router, &logits, None)?;
        let sum = (dense + self.after_experts.forward(&experts)?)?;
        match onto {
            Some(Residual { x, scale: Some(scale) }) => x + (sum * scale),
            Some(Residual { x, scale: None }) => x + sum,
            None => Ok(sum),
        }
    }
}
