//! The table of supported architectures.

use serde_json::{Value, json};

use super::decoder::{Decoder, DecoderSpec};
use super::{LanguageModel, llm};
use crate::error::{Error, Result};
use crate::weights::Weights;

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text in, text out.
    Text,
}

impl Kind {
    /// The name in `mlxe models --json`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
        }
    }
}

/// How a row builds its model.
#[derive(Clone, Copy)]
enum Build {
    /// A specification for the generic decoder.
    Decoder(fn(&Value) -> Result<DecoderSpec>),
    /// The same architecture as another row.
    Alias(&'static str),
}

/// One supported `model_type`.
pub struct Architecture {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    /// What it is for.
    pub kind: Kind,
    build: Build,
}

const fn decoder(model_type: &'static str, spec: fn(&Value) -> Result<DecoderSpec>) -> Architecture {
    Architecture { model_type, kind: Kind::Text, build: Build::Decoder(spec) }
}

const fn alias(model_type: &'static str, of: &'static str) -> Architecture {
    Architecture { model_type, kind: Kind::Text, build: Build::Alias(of) }
}

/// Every supported `model_type`, sorted.
pub static ARCHITECTURES: &[Architecture] = &[
    decoder("cohere", llm::cohere::spec),
    decoder("gemma", llm::gemma::spec),
    decoder("gemma2", llm::gemma2::spec),
    decoder("gemma3_text", llm::gemma3_text::spec),
    decoder("granite", llm::granite::spec),
    alias("iquestcoder", "llama"),
    decoder("llama", llm::llama::spec),
    alias("mistral", "llama"),
    decoder("mixtral", llm::mixtral::spec),
    decoder("olmo2", llm::olmo2::spec),
    decoder("olmoe", llm::olmoe::spec),
    decoder("phi3", llm::phi3::spec),
    decoder("qwen2", llm::qwen2::spec),
    decoder("qwen2_moe", llm::qwen2_moe::spec),
    decoder("qwen3", llm::qwen3::spec),
    decoder("qwen3_moe", llm::qwen3_moe::spec),
    decoder("smollm3", llm::smollm3::spec),
    decoder("stablelm", llm::stablelm::spec),
    decoder("starcoder2", llm::starcoder2::spec),
    alias("xverse", "llama"),
];

/// The row for a `model_type`; an unknown one is an error that lists what is known.
pub fn find(model_type: &str) -> Result<&'static Architecture> {
    ARCHITECTURES.iter().find(|a| a.model_type == model_type).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.model_type).collect();
        Error::unsupported(format!("model_type {model_type:?} is not supported; supported: {}", known.join(", ")))
    })
}

impl Architecture {
    /// The `model_type` whose code runs this one, if it is another.
    pub fn alias_of(&self) -> Option<&'static str> {
        match self.build {
            Build::Alias(of) => Some(of),
            Build::Decoder(_) => None,
        }
    }

    /// Reads `config.json` without weights: refuses what the architecture cannot run.
    pub fn check(&self, config: &Value) -> Result<()> {
        match self.build {
            Build::Alias(of) => find(of)?.check(config),
            Build::Decoder(spec) => spec(config)?.validate(),
        }
    }

    /// The specification of its decoder, for what is to be known without weights.
    ///
    /// # Errors
    /// If `config.json` does not describe one that can be run.
    pub fn spec(&self, config: &Value) -> Result<DecoderSpec> {
        match self.build {
            Build::Alias(of) => find(of)?.spec(config),
            Build::Decoder(spec) => {
                let spec = spec(config)?;
                spec.validate().map(|()| spec)
            }
        }
    }

    /// Builds the model from its weights.
    pub fn build(&self, config: &Value, weights: &Weights) -> Result<Box<dyn LanguageModel>> {
        match self.build {
            Build::Alias(of) => find(of)?.build(config, weights),
            Build::Decoder(spec) => Ok(Box::new(Decoder::load(spec(config)?, weights)?)),
        }
    }
}

/// The table as JSON: an array of objects with `model_type`, `kind` and `alias_of`.
pub fn to_json() -> Value {
    let row = |a: &Architecture| json!({"model_type": a.model_type, "kind": a.kind.name(), "alias_of": a.alias_of()});
    ARCHITECTURES.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_aliases_lead_to_decoders() {
        assert!(ARCHITECTURES.is_sorted_by(|a, b| a.model_type < b.model_type));
        for row in ARCHITECTURES {
            if let Some(of) = row.alias_of() {
                assert!(find(of).unwrap().alias_of().is_none(), "{}", row.model_type);
            }
        }
    }

    #[test]
    fn unknown_types_are_refused_with_the_list() {
        let error = find("warp_drive").err().unwrap();
        assert!(error.message().contains("warp_drive") && error.message().contains("qwen3"));
    }
}
