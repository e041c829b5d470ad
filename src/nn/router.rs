//! Which experts of a mixture each position uses, with what weights.

use super::Linear;
use crate::array::fused::RouterSoftmax;
use crate::array::{Array, Dtype, full};
use crate::error::{Error, Result};
use crate::weights::Weights;

/// How experts are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterSpec {
    /// The linear layer that gives a logit per expert, within the mixture.
    pub name: &'static str,
    /// How logits become scores.
    pub score: Score,
    /// What is added to the scores.
    pub bias: RouterBias,
    /// Experts are chosen from the best groups only.
    pub groups: Option<Groups>,
    /// How many experts each position uses: those with the largest scores.
    pub top_k: i32,
    /// Whether their scores are divided by their sum.
    pub normalize: bool,
    /// Scale of their scores.
    pub scale: Option<f32>,
    /// A tensor within the mixture: a further scale for each expert.
    pub expert_scale: Option<&'static str>,
}

/// How a router's logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// A softmax over all experts.
    Softmax,
    /// Each separately.
    Sigmoid,
}

/// What is added to a router's logits or scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterBias {
    /// Nothing.
    None,
    /// The bias of its layer.
    Logits,
    /// This tensor within the mixture (`gate.e_score_correction_bias`), to scores, and only for the choice.
    Choice(&'static str),
    /// The same if the checkpoint has it.
    ChoiceIfThere(&'static str),
}

/// Groups of consecutive experts, of which only some are considered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Groups {
    /// Groups.
    pub count: i32,
    /// How many groups each position considers.
    pub top_k: i32,
    /// The scores they are chosen by.
    pub score: GroupScore,
    /// The score of experts in other groups: implementations differ (0, or less than every score).
    pub excluded: f32,
}

/// How a group of experts is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupScore {
    /// Its best expert.
    Best,
    /// The sum of its best two.
    BestTwo,
}

impl RouterSpec {
    /// A softmax over all experts, of which the `top_k` best are used; their weights sum to 1 with `normalize`.
    pub fn softmax(top_k: i32, normalize: bool) -> RouterSpec {
        RouterSpec {
            name: "gate",
            score: Score::Softmax,
            bias: RouterBias::None,
            groups: None,
            top_k,
            normalize,
            scale: None,
            expert_scale: None,
        }
    }

    /// Refuses what is impossible with `count` experts.
    pub fn validate(&self, count: i32) -> Result<()> {
        let bad = |what: String| Err(Error::invalid_config(format!("config.json: {what}")));
        if !(1..=count).contains(&self.top_k) {
            return bad(format!("num_experts_per_tok is {}; 1 to {count} is possible", self.top_k));
        }
        let Some(groups) = self.groups else { return Ok(()) };
        let Groups { count: n, top_k, score, .. } = groups;
        if n < 1 || count % n != 0 || (score == GroupScore::BestTwo && count / n < 2) {
            return bad(format!("n_group is {n} for {count} experts"));
        }
        if !(1..=n).contains(&top_k) || top_k * (count / n) < self.top_k {
            return bad(format!("topk_group is {top_k} of {n} groups, for {} of {count} experts", self.top_k));
        }
        Ok(())
    }
}

/// A router with its weights.
pub struct Router {
    spec: RouterSpec,
    count: i32,
    layer: Linear,
    correction: Option<Array>,
    expert_scale: Option<Array>,
}

impl Router {
    /// The router of `count` experts within the mixture at `path`.
    pub fn load(w: &Weights, path: &str, spec: &RouterSpec, hidden: i32, count: i32) -> Result<Router> {
        let at = format!("{path}.{}", spec.name);
        let layer = Linear::load(w, &at, hidden, count, spec.bias == RouterBias::Logits)?;
        let correction = match spec.bias {
            RouterBias::Choice(name) => Some(w.tensor(&format!("{path}.{name}"), &[count])?),
            RouterBias::ChoiceIfThere(name) => {
                let name = format!("{path}.{name}");
                w.has(&name).then(|| w.tensor(&name, &[count])).transpose()?
            }
            RouterBias::None | RouterBias::Logits => None,
        };
        let expert_scale = spec.expert_scale.map(|name| w.tensor(&format!("{path}.{name}"), &[count])).transpose()?;
        Ok(Router { spec: spec.clone(), count, layer, correction, expert_scale })
    }

    /// Of a matrix alone.
    #[cfg(test)]
    pub(super) fn new(spec: RouterSpec, count: i32, weight: Array) -> Result<Router> {
        let layer = Linear::new(crate::weights::Matrix::Dense(weight), None)?;
        Ok(Router { spec, count, layer, correction: None, expert_scale: None })
    }

    /// `[.., hidden]` to `[.., experts]`.
    pub fn logits(&self, x: &Array) -> Result<Array> {
        self.layer.forward(x)
    }

    /// Experts that each position uses.
    pub fn top_k(&self) -> i32 {
        self.spec.top_k
    }

    /// The same as a description for back ends, if there is one.
    pub(super) fn softmax(&self) -> Option<RouterSoftmax> {
        let s = &self.spec;
        let scaled = s.scale.is_some() || s.expert_scale.is_some();
        let plain = s.score == Score::Softmax && self.correction.is_none() && s.groups.is_none() && !scaled;
        // Dividing by their sum is a softmax over the chosen alone.
        plain.then_some(if s.normalize { RouterSoftmax::Chosen } else { RouterSoftmax::All })
    }

    /// Chosen experts and their weights, `[batch, length, top_k]`, step by step.
    pub(super) fn choose(&self, logits: &Array) -> Result<(Array, Array)> {
        let logits32 = logits.astype(Dtype::F32)?;
        let scores = match self.spec.score {
            Score::Softmax => logits32.softmax(-1, true)?,
            Score::Sigmoid => logits32.sigmoid()?,
        };
        let mut choice = match &self.correction {
            Some(correction) => (&scores + correction.astype(Dtype::F32)?)?,
            None => scores.clone(),
        };
        if let Some(groups) = self.spec.groups {
            choice = self.of_groups(&choice, groups)?;
        }
        let (n, k) = (self.count, self.spec.top_k);
        let experts = choice.argpartition(n - k, -1)?.slice_axis(-1, n - k, n)?;
        let mut weights = scores.take_along_axis(&experts, -1)?;
        if self.spec.normalize {
            weights = (&weights / (weights.sum(-1, true)? + 1e-20)?)?;
        }
        if let Some(scale) = self.spec.scale {
            weights = (weights * scale)?;
        }
        if let Some(scale) = &self.expert_scale {
            weights = (weights * scale.astype(Dtype::F32)?.take(&experts, 0)?)?;
        }
        Ok((experts, weights.astype(logits.dtype())?))
    }

    /// The scores of experts in the best groups; others get a value that excludes them.
    fn of_groups(&self, choice: &Array, groups: Groups) -> Result<Array> {
        let (batch, length) = (choice.dim(0), choice.dim(1));
        let each = self.count / groups.count;
        let grouped = choice.reshape(&[batch, length, groups.count, each])?;
        let by = match groups.score {
            GroupScore::Best => grouped.max(-1, false)?,
            GroupScore::BestTwo => grouped.sort(-1)?.slice_axis(-1, each - 2, each)?.sum(-1, false)?,
        };
        let worst = groups.count - groups.top_k;
        if worst == 0 {
            return Ok(choice.clone());
        }
        let excluded = by.argpartition(worst - 1, -1)?.slice_axis(-1, 0, worst)?.expand_dims(-1)?;
        let excluded = excluded.broadcast_to(&[batch, length, worst, each])?;
        let value = full(&[batch, length, worst, each], groups.excluded, choice.dtype())?;
        // Along the axis of groups.
        let turned = grouped.swap_axes(-1, -2)?;
        let put = turned.put_along_axis(&excluded.swap_axes(-1, -2)?, &value.swap_axes(-1, -2)?, -1)?;
        put.swap_axes(-1, -2)?.reshape(&[batch, length, self.count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::{Device, random, set_device};

    fn router(spec: RouterSpec, correction: Option<&[f32]>, count: i32) -> Router {
        let weight = random::normal(&[count, 4], 1.0, Dtype::F32, &random::key(1).unwrap()).unwrap();
        let correction = correction.map(|c| Array::from_slice(c, &[count]).unwrap());
        Router { correction, ..Router::new(spec, count, weight).unwrap() }
    }

    /// Experts with their weights, best first.
    fn chosen(router: &Router, logits: &[f32]) -> Vec<(u32, f32)> {
        set_device(Device::Cpu).unwrap();
        let logits = Array::from_slice(logits, &[1, 1, logits.len() as i32]).unwrap();
        let (experts, weights) = router.choose(&logits).unwrap();
        let mut all: Vec<(u32, f32)> =
            experts.to_vec::<u32>().unwrap().into_iter().zip(weights.to_vec::<f32>().unwrap()).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    fn agree(got: &[(u32, f32)], want: &[(u32, f32)]) {
        assert_eq!(got.len(), want.len(), "{got:?}");
        for (got, want) in got.iter().zip(want) {
            assert!(got.0 == want.0 && (got.1 - want.1).abs() < 1e-5, "{got:?}, not {want:?}");
        }
    }

    const LOGITS: [f32; 6] = [1.0, 0.5, -1.0, 2.0, 0.0, 1.5];

    fn sigmoid(x: f32) -> f32 {
        1.0 / (1.0 + (-x).exp())
    }

    #[test]
    fn softmax_of_all_or_of_the_chosen() {
        let total: f32 = LOGITS.iter().map(|x| x.exp()).sum();
        let all = router(RouterSpec::softmax(2, false), None, 6);
        agree(&chosen(&all, &LOGITS), &[(3, 2f32.exp() / total), (5, 1.5f32.exp() / total)]);
        let two = 2f32.exp() + 1.5f32.exp();
        let normalized = router(RouterSpec::softmax(2, true), None, 6);
        agree(&chosen(&normalized, &LOGITS), &[(3, 2f32.exp() / two), (5, 1.5f32.exp() / two)]);
        // Step by step the same comes out.
        let scaled = router(RouterSpec { scale: Some(3.0), ..RouterSpec::softmax(2, true) }, None, 6);
        agree(&chosen(&scaled, &LOGITS), &[(3, 3.0 * 2f32.exp() / two), (5, 3.0 * 1.5f32.exp() / two)]);
    }

    #[test]
    fn a_correction_chooses_but_does_not_weigh() {
        let spec = RouterSpec {
            score: Score::Sigmoid,
            bias: RouterBias::Choice("gate.e_score_correction_bias"),
            scale: Some(2.0),
            ..RouterSpec::softmax(2, true)
        };
        let corrected = router(spec, Some(&[0.0, 0.0, 5.0, 0.0, 0.0, 0.0]), 6);
        let (a, b) = (sigmoid(2.0), sigmoid(-1.0));
        agree(&chosen(&corrected, &LOGITS), &[(3, 2.0 * a / (a + b)), (2, 2.0 * b / (a + b))]);
    }

    #[test]
    fn experts_come_from_the_best_groups() {
        // Pairs: best 1, 2, 1.5; sums 1.5, 1, 1.5 of logits.
        let groups = |top_k, score, excluded| {
            let groups = Some(Groups { count: 3, top_k, score, excluded });
            router(RouterSpec { score: Score::Sigmoid, groups, ..RouterSpec::softmax(2, false) }, None, 6)
        };
        let lowest = f32::NEG_INFINITY;
        agree(&chosen(&groups(1, GroupScore::Best, lowest), &LOGITS), &[(3, sigmoid(2.0)), (2, sigmoid(-1.0))]);
        let sums = [sigmoid(1.0) + sigmoid(0.5), sigmoid(-1.0) + sigmoid(2.0), sigmoid(0.0) + sigmoid(1.5)];
        assert!(sums[0] > sums[2] && sums[2] > sums[1]);
        agree(&chosen(&groups(1, GroupScore::BestTwo, lowest), &LOGITS), &[(0, sigmoid(1.0)), (1, sigmoid(0.5))]);
        agree(&chosen(&groups(2, GroupScore::BestTwo, 0.0), &LOGITS), &[(5, sigmoid(1.5)), (0, sigmoid(1.0))]);
        agree(&chosen(&groups(3, GroupScore::Best, lowest), &LOGITS), &[(3, sigmoid(2.0)), (5, sigmoid(1.5))]);
    }

    #[test]
    fn what_cannot_be_chosen_is_refused() {
        let groups = |count, top_k| Some(Groups { count, top_k, score: GroupScore::BestTwo, excluded: 0.0 });
        for (top_k, groups, word) in [
            (0, None, "num_experts_per_tok is 0"),
            (9, None, "num_experts_per_tok is 9"),
            (2, groups(3, 1), "n_group is 3"),
            (2, groups(8, 1), "n_group is 8"),
            (2, groups(4, 0), "topk_group is 0"),
            (4, groups(4, 1), "topk_group is 1"),
        ] {
            let error = RouterSpec { groups, ..RouterSpec::softmax(top_k, true) }.validate(8).unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
        assert!(RouterSpec { groups: groups(4, 2), ..RouterSpec::softmax(4, true) }.validate(8).is_ok());
    }
}
