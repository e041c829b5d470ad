//! What a caller may ask of the sampler.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dry::MAX_BREAKER_BYTES;
use crate::{Error, Result};

/// How the next token is chosen from the logits.
///
/// The default is greedy decoding without penalties. Every filter has a value that turns it off, which is its default.
/// Names, meanings and defaults follow mlx-lm's `make_sampler` and `make_logits_processors` where these have the
/// option, and llama.cpp's for the rest. The [module page](super) gives the order in which the steps run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingParams {
    /// Divides the logits before the draw; at least 0. Default 0: greedy, the most likely token, and every truncation
    /// filter is skipped.
    pub temperature: f32,
    /// Keep the `top_k` most likely tokens. 0 (default), or a number not below the size of the vocabulary: keep all.
    pub top_k: u32,
    /// Nucleus sampling (Holtzman et al., arXiv:1904.09751): keep the most likely tokens that together have at least
    /// this probability. In 0..=1; 1 (default) is off, and so is 0, as in mlx-lm.
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the most likely one (Nguyen et al., arXiv:2407.01082).
    /// In 0..=1; 0 (default) is off.
    pub min_p: f32,
    /// `min_p` and `typical_p` leave at least this many tokens; at least 1 (default).
    pub min_tokens_to_keep: u32,
    /// Locally typical sampling (Meister et al., arXiv:2202.00666): keep the tokens whose surprise is nearest to the
    /// entropy until they have this probability. In (0, 1]; 1 (default) is off.
    pub typical_p: f32,
    /// Keep tokens whose logit is within this many standard deviations of the largest logit (Tang et al.,
    /// arXiv:2411.07641). At least 0; 0 (default) is off.
    pub top_n_sigma: f32,
    /// The chance, drawn for each token, that XTC ("exclude top choices") runs. In 0..=1; 0 (default) is off.
    pub xtc_probability: f32,
    /// XTC removes all tokens more likely than this except the least likely of them. In 0..=0.5; default 0.1.
    pub xtc_threshold: f32,
    /// DRY, a penalty on continuing a repeated passage. Default off.
    pub dry: Option<DryParams>,
    /// Mirostat v2, which replaces all truncation filters. Default off.
    pub mirostat: Option<MirostatParams>,
    /// Positive logits of tokens seen in the window are divided by this, others multiplied (Keskar et al.,
    /// arXiv:1909.05858). At least 0; 1 (default) is off, and so is 0, as in mlx-lm.
    pub repetition_penalty: f32,
    /// How many of the latest tokens `repetition_penalty` looks at. Default 20; 0 is the whole history, as in mlx-lm.
    pub repetition_context_size: u32,
    /// Subtracted once from the logit of every token seen in the window. Finite; 0 (default) is off.
    pub presence_penalty: f32,
    /// How many of the latest tokens `presence_penalty` looks at. Default 20; 0 is the whole history.
    pub presence_context_size: u32,
    /// Subtracted from a token's logit for each time it is in the window. Finite; 0 (default) is off.
    pub frequency_penalty: f32,
    /// How many of the latest tokens `frequency_penalty` looks at. Default 20; 0 is the whole history.
    pub frequency_context_size: u32,
    /// Added to the logits of these tokens. Finite, or minus infinity to ban a token (JSON has no infinities: there
    /// use a large negative number).
    pub logit_bias: BTreeMap<u32, f32>,
    /// Makes the draws reproducible. Default `None`: another seed every time, from the system's entropy.
    pub seed: Option<u64>,
    /// Also report this many of the most likely tokens with their log-probabilities. Default `None`.
    pub logprobs: Option<u32>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        SamplingParams {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            min_tokens_to_keep: 1,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            dry: None,
            mirostat: None,
            repetition_penalty: 1.0,
            repetition_context_size: 20,
            presence_penalty: 0.0,
            presence_context_size: 20,
            frequency_penalty: 0.0,
            frequency_context_size: 20,
            logit_bias: BTreeMap::new(),
            seed: None,
            logprobs: None,
        }
    }
}

/// "Don't repeat yourself": a token that would continue a passage already in the context loses
/// `multiplier * base^(length - allowed_length)` from its logit, where `length` is the length of the repeated passage.
///
/// Proposed by p-e-w (text-generation-webui, pull request 5677); the details are those of llama.cpp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DryParams {
    /// Scale of the penalty, in logits; at least 0, and 0 is off. Default 0.8.
    pub multiplier: f32,
    /// Growth of the penalty per repeated token; at least 1. Default 1.75.
    pub base: f32,
    /// Repeats shorter than this many tokens are free. Default 2.
    pub allowed_length: u32,
    /// How many of the latest tokens are searched for repeats. -1 (default) is the whole history, 0 is off.
    pub penalty_last_n: i32,
    /// Texts across which no repeat is followed, 1 to 40 bytes each. The caller turns them into token ids with
    /// [`resolve_breakers`](super::resolve_breakers), since that needs the tokenizer.
    /// Default newline, colon, double quote, asterisk.
    pub sequence_breakers: Vec<String>,
}

impl Default for DryParams {
    fn default() -> Self {
        DryParams {
            multiplier: 0.8,
            base: 1.75,
            allowed_length: 2,
            penalty_last_n: -1,
            sequence_breakers: ["\n", ":", "\"", "*"].map(String::from).to_vec(),
        }
    }
}

impl DryParams {
    /// Whether these settings can change a logit.
    pub(super) fn is_active(&self) -> bool {
        self.multiplier > 0.0 && self.penalty_last_n != 0
    }
}

/// Mirostat v2 (Basu et al., arXiv:2007.14966): a controller that keeps the surprise of the text near a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MirostatParams {
    /// The target surprise, in bits per token; above 0. Default 5.
    pub tau: f32,
    /// The learning rate; at least 0. Default 0.1.
    pub eta: f32,
}

impl Default for MirostatParams {
    fn default() -> Self {
        MirostatParams { tau: 5.0, eta: 0.1 }
    }
}

/// Token ids that depend on the tokenizer, which the sampler does not know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenSets {
    /// Tokens that XTC never removes. mlx-lm passes the newline and the end-of-sequence tokens.
    pub xtc_excluded: Vec<u32>,
    /// The token sequences of [`DryParams::sequence_breakers`], from [`resolve_breakers`](super::resolve_breakers).
    pub dry_breakers: Vec<Vec<u32>>,
}

impl SamplingParams {
    /// Checks every range.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), naming the first field at fault and its value.
    pub fn validate(&self) -> Result<()> {
        let finite = |x: f32| x.is_finite();
        let not_negative = |x: f32| x.is_finite() && x >= 0.0;
        let fraction = |x: f32| (0.0..=1.0).contains(&x);

        check("temperature", self.temperature, not_negative, "finite and at least 0")?;
        check("top_p", self.top_p, fraction, "between 0 and 1")?;
        check("min_p", self.min_p, fraction, "between 0 and 1")?;
        check("min_tokens_to_keep", self.min_tokens_to_keep, |n| n >= 1, "at least 1")?;
        check("typical_p", self.typical_p, |x| x > 0.0 && fraction(x), "above 0 and at most 1")?;
        check("top_n_sigma", self.top_n_sigma, not_negative, "finite and at least 0")?;
        check("xtc_probability", self.xtc_probability, fraction, "between 0 and 1")?;
        check("xtc_threshold", self.xtc_threshold, |x| (0.0..=0.5).contains(&x), "between 0 and 0.5")?;
        check("repetition_penalty", self.repetition_penalty, not_negative, "finite and at least 0")?;
        check("presence_penalty", self.presence_penalty, finite, "finite")?;
        check("frequency_penalty", self.frequency_penalty, finite, "finite")?;
        for (token, &bias) in &self.logit_bias {
            check(&format!("logit_bias[{token}]"), bias, |x| x < f32::INFINITY, "a number below infinity")?;
        }
        if let Some(dry) = &self.dry {
            check("dry.multiplier", dry.multiplier, not_negative, "finite and at least 0")?;
            check("dry.base", dry.base, |x| finite(x) && x >= 1.0, "finite and at least 1")?;
            check("dry.penalty_last_n", dry.penalty_last_n, |n| n >= -1, "at least -1")?;
            for (i, text) in dry.sequence_breakers.iter().enumerate() {
                let name = format!("length in bytes of dry.sequence_breakers[{i}]");
                check(&name, text.len(), |n| (1..=MAX_BREAKER_BYTES).contains(&n), "between 1 and 40")?;
            }
        }
        if let Some(mirostat) = &self.mirostat {
            check("mirostat.tau", mirostat.tau, |x| finite(x) && x > 0.0, "finite and above 0")?;
            check("mirostat.eta", mirostat.eta, not_negative, "finite and at least 0")?;
        }
        Ok(())
    }
}

fn check<T: Copy + std::fmt::Display>(name: &str, value: T, ok: impl Fn(T) -> bool, want: &str) -> Result<()> {
    if ok(value) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("sampling: {name} must be {want}, not {value}")))
}
