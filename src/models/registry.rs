//! The table of supported architectures.

use serde_json::{Value, json};

use super::config::normalize;
use super::decoder::{Decoder, DecoderSpec};
use super::llm::published;
use super::shape::ModelShape;
use super::{Encoder, LanguageModel, Tower, by_hand, llm};
use crate::error::{Error, Result};
use crate::weights::Weights;

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text in, text out.
    Text,
    /// Text in, features out.
    Encoder,
    /// Text and images in, text out.
    Vision,
}

impl Kind {
    /// The name in `mlxe models --json`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Encoder => "encoder",
            Kind::Vision => "vision",
        }
    }
}

/// How a row builds its model. Every function gets a [normalised](normalize) configuration.
#[derive(Clone, Copy)]
pub enum Build {
    /// A specification for the generic decoder.
    Decoder(fn(&Value) -> Result<DecoderSpec>),
    /// A model written by hand.
    ByHand(ByHand<dyn LanguageModel>),
    /// A model that turns text into features.
    Encoder(ByHand<dyn Encoder>),
    /// A decoder, and a tower that turns images into embeddings.
    Vision {
        /// The decoder.
        text: fn(&Value) -> Result<DecoderSpec>,
        /// The vision tower.
        tower: ByHand<dyn Tower>,
    },
    /// The same architecture as another row.
    Alias(&'static str),
}

/// A model written by hand.
pub struct ByHand<M: ?Sized> {
    /// Its sizes; refuses a configuration that it cannot run.
    pub shape: fn(&Value) -> Result<ModelShape>,
    /// Takes its weights.
    pub load: fn(&Value, &Weights) -> Result<Box<M>>,
}

impl<M: ?Sized> Clone for ByHand<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: ?Sized> Copy for ByHand<M> {}

/// A model with its weights, as its row builds it.
pub enum Network {
    /// Text in, text out.
    Language(Box<dyn LanguageModel>),
    /// Text in, features out.
    Encoder(Box<dyn Encoder>),
    /// Text and images in, text out.
    Vision(Box<dyn LanguageModel>, Box<dyn Tower>),
}

/// Renames and drops tensors of a checkpoint, before a model takes its own and what is left over is refused.
pub type Sanitize = fn(&Value, &Weights) -> Result<()>;

/// One supported `model_type`.
pub struct Architecture {
    /// `model_type` in `config.json`.
    pub model_type: &'static str,
    build: Build,
    sanitize: Option<Sanitize>,
}

impl Architecture {
    /// A row of the table.
    pub const fn new(model_type: &'static str, build: Build) -> Architecture {
        Architecture { model_type, build, sanitize: None }
    }

    /// For checkpoints whose tensor names differ from the model's.
    pub const fn sanitized(self, sanitize: Sanitize) -> Architecture {
        Architecture { sanitize: Some(sanitize), ..self }
    }
}

const fn decoder(model_type: &'static str, spec: fn(&Value) -> Result<DecoderSpec>) -> Architecture {
    Architecture::new(model_type, Build::Decoder(spec))
}

const fn by_hand(
    model_type: &'static str,
    shape: fn(&Value) -> Result<ModelShape>,
    load: fn(&Value, &Weights) -> Result<Box<dyn LanguageModel>>,
) -> Architecture {
    Architecture::new(model_type, Build::ByHand(ByHand { shape, load }))
}

const fn alias(model_type: &'static str, of: &'static str) -> Architecture {
    Architecture::new(model_type, Build::Alias(of))
}

/// Every supported `model_type`, sorted.
pub static ARCHITECTURES: &[Architecture] = &[
    decoder("Klear", llm::klear::spec),
    alias("acereason", "qwen2"),
    decoder("apertus", llm::apertus::spec),
    decoder("bailing_moe", llm::bailing_moe::spec).sanitized(llm::bailing_moe::sanitize),
    decoder("cohere", llm::cohere::spec),
    decoder("cohere2", llm::cohere2::spec),
    decoder("deepseek", llm::deepseek::spec),
    decoder("deepseek_v2", llm::deepseek_v2::spec),
    decoder("deepseek_v3", llm::deepseek_v3::spec).sanitized(published::drop_prediction_layers),
    decoder("dots1", llm::dots1::spec),
    decoder("ernie4_5", llm::ernie4_5::spec),
    decoder("ernie4_5_moe", llm::ernie4_5_moe::spec).sanitized(llm::ernie4_5_moe::sanitize),
    decoder("exaone", llm::exaone::spec),
    decoder("exaone4", llm::exaone4::spec),
    decoder("exaone_moe", llm::exaone_moe::spec).sanitized(llm::exaone_moe::sanitize),
    decoder("falcon_h1", llm::falcon_h1::spec).sanitized(llm::falcon_h1_multipliers::sanitize),
    alias("falcon_mamba", "mamba"),
    decoder("gemma", llm::gemma::spec),
    decoder("gemma2", llm::gemma2::spec),
    decoder("gemma3", llm::gemma3::spec).sanitized(llm::multimodal::text_side),
    decoder("gemma3_text", llm::gemma3_text::spec),
    by_hand("gemma3n", by_hand::gemma3n::shape, by_hand::gemma3n::load).sanitized(llm::multimodal::text_side),
    decoder("gemma4", llm::gemma4::spec).sanitized(llm::gemma4_published::sanitize),
    alias("gemma4_text", "gemma4"),
    alias("gemma4_unified", "gemma4"),
    decoder("glm", llm::glm::spec),
    decoder("glm4", llm::glm4::spec),
    decoder("glm4_moe", llm::glm4_moe::spec).sanitized(published::drop_prediction_layers),
    decoder("glm4_moe_lite", llm::glm4_moe_lite::spec).sanitized(published::drop_prediction_layers),
    decoder("gpt2", llm::gpt2::spec).sanitized(llm::gpt2::sanitize),
    decoder("gpt_bigcode", llm::gpt_bigcode::spec),
    decoder("gpt_neox", llm::gpt_neox::spec).sanitized(llm::gpt_neox::sanitize),
    decoder("gpt_oss", llm::gpt_oss::spec).sanitized(llm::gpt_oss::sanitize),
    decoder("gptj", llm::gptj::spec).sanitized(llm::gptj::sanitize),
    decoder("granite", llm::granite::spec),
    decoder("granitemoe", llm::granitemoe::spec).sanitized(llm::granitemoe::sanitize),
    decoder("granitemoehybrid", llm::granitemoehybrid::spec).sanitized(llm::converted::granite),
    decoder("helium", llm::helium::spec),
    decoder("hunyuan_v1_dense", llm::hunyuan_v1_dense::spec),
    decoder("internlm2", llm::internlm2::spec),
    decoder("internlm3", llm::internlm3::spec),
    alias("iquestcoder", "llama"),
    decoder("jamba", llm::jamba::spec),
    alias("joyai_llm_flash", "deepseek_v3"),
    alias("kimi_k2", "deepseek_v3"),
    decoder("lfm2", llm::lfm2::spec),
    decoder("lfm2_moe", llm::lfm2_moe::spec).sanitized(llm::lfm2_moe::sanitize),
    decoder("lille-130m", llm::lille_130m::spec),
    decoder("llama", llm::llama::spec),
    alias("llava", "mistral3"),
    decoder("mamba", llm::mamba::spec),
    decoder("mamba2", llm::mamba2::spec),
    decoder("mellum", llm::mellum::spec),
    decoder("mimo", llm::mimo::spec).sanitized(llm::mimo::sanitize),
    decoder("mimo_v2_flash", llm::mimo_v2_flash::spec).sanitized(llm::mimo_v2_flash::sanitize),
    decoder("minicpm", llm::minicpm::spec),
    decoder("minicpm3", llm::minicpm3::spec),
    decoder("minimax", llm::minimax::spec),
    alias("minimax_m2", "minimax"),
    decoder("ministral3", llm::ministral3::spec),
    alias("mistral", "llama"),
    decoder("mistral3", llm::mistral3::spec).sanitized(llm::multimodal::text_side),
    decoder("mistral4", llm::mistral4::spec).sanitized(llm::mistral4::sanitize),
    decoder("mixtral", llm::mixtral::spec),
    decoder("muse_glimmer", llm::muse_glimmer::spec).sanitized(llm::multimodal::text_side),
    decoder("nanbeige", llm::nanbeige::spec),
    decoder("nanochat", llm::nanochat::spec).sanitized(llm::nanochat::sanitize),
    decoder("nemotron", llm::nemotron::spec),
    decoder("olmo", llm::olmo::spec),
    decoder("olmo2", llm::olmo2::spec),
    decoder("olmo3", llm::olmo3::spec),
    decoder("olmo_hybrid", llm::olmo_hybrid::spec),
    decoder("olmoe", llm::olmoe::spec),
    decoder("openelm", llm::openelm::spec),
    decoder("phi", llm::phi::spec),
    decoder("phi3", llm::phi3::spec),
    decoder("qwen", llm::qwen::spec),
    decoder("qwen2", llm::qwen2::spec),
    decoder("qwen2_moe", llm::qwen2_moe::spec),
    decoder("qwen3", llm::qwen3::spec),
    decoder("qwen3_5", llm::qwen3_5::spec).sanitized(llm::qwen3_5::sanitize),
    alias("qwen3_5_moe", "qwen3_5"),
    alias("qwen3_5_moe_text", "qwen3_5"),
    alias("qwen3_5_text", "qwen3_5"),
    decoder("qwen3_moe", llm::qwen3_moe::spec),
    decoder("qwen3_next", llm::qwen3_next::spec).sanitized(llm::qwen3_next::sanitize),
    decoder("seed_oss", llm::seed_oss::spec),
    decoder("smollm3", llm::smollm3::spec),
    alias("solar_open", "glm4_moe"),
    decoder("spark2_5", llm::spark2_5::spec).sanitized(llm::spark2_5::sanitize),
    decoder("stablelm", llm::stablelm::spec),
    decoder("starcoder2", llm::starcoder2::spec),
    decoder("telechat3", llm::telechat3::spec),
    alias("xverse", "llama"),
    decoder("youtu_llm", llm::youtu_llm::spec),
];

/// The row for a `model_type`; an unknown one is an error that lists what is known.
pub fn find(model_type: &str) -> Result<&'static Architecture> {
    let rows = ARCHITECTURES.iter();
    #[cfg(test)]
    let rows = rows.chain(super::tests::ROWS);
    rows.into_iter().find(|a| a.model_type == model_type).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|a| a.model_type).collect();
        Error::unsupported(format!("model_type {model_type:?} is not supported; supported: {}", known.join(", ")))
    })
}

impl Architecture {
    /// The `model_type` whose code runs this one, if it is another.
    pub fn alias_of(&self) -> Option<&'static str> {
        match self.build {
            Build::Alias(of) => Some(of),
            _ => None,
        }
    }

    /// What its models are for.
    pub fn kind(&self) -> Kind {
        match self.build {
            Build::Decoder(_) | Build::ByHand(_) => Kind::Text,
            Build::Encoder(_) => Kind::Encoder,
            Build::Vision { .. } => Kind::Vision,
            Build::Alias(of) => find(of).map_or(Kind::Text, Architecture::kind),
        }
    }

    /// The sizes of the model that `config.json` describes, without weights: what `mlxe fit` and estimates ask.
    ///
    /// # Errors
    /// If `config.json` does not describe one that can be run.
    pub fn shape(&self, config: &Value) -> Result<ModelShape> {
        let config = &normalize(config);
        match self.build {
            Build::Alias(of) => find(of)?.shape(config),
            Build::Decoder(spec) => Ok(checked(spec, config)?.shape()),
            Build::ByHand(ByHand { shape, .. }) | Build::Encoder(ByHand { shape, .. }) => shape(config),
            Build::Vision { text, tower } => Ok(checked(text, config)?.shape().with_tower((tower.shape)(config)?)),
        }
    }

    /// Builds the model from its weights.
    ///
    /// # Errors
    /// As [`shape`](Architecture::shape). Problems with the weights are reported by [`Weights::finish`].
    pub fn build(&self, config: &Value, weights: &Weights) -> Result<Network> {
        let config = &normalize(config);
        weights.dequantize_blocks()?;
        if let Some(sanitize) = self.sanitize {
            sanitize(config, weights)?;
        }
        let decoder =
            |spec| -> Result<Box<dyn LanguageModel>> { Ok(Box::new(Decoder::load(checked(spec, config)?, weights)?)) };
        Ok(match self.build {
            Build::Alias(of) => find(of)?.build(config, weights)?,
            Build::Decoder(spec) => Network::Language(decoder(spec)?),
            Build::ByHand(model) => Network::Language((model.load)(config, weights)?),
            Build::Encoder(model) => Network::Encoder((model.load)(config, weights)?),
            Build::Vision { text, tower } => Network::Vision(decoder(text)?, (tower.load)(config, weights)?),
        })
    }
}

fn checked(spec: fn(&Value) -> Result<DecoderSpec>, config: &Value) -> Result<DecoderSpec> {
    let spec = spec(config)?;
    spec.validate()?;
    Ok(spec)
}

impl Network {
    /// The model that continues text.
    ///
    /// # Errors
    /// `Unsupported` if it is for something else.
    pub fn language(self) -> Result<Box<dyn LanguageModel>> {
        match self {
            Network::Language(model) | Network::Vision(model, _) => Ok(model),
            Network::Encoder(_) => Err(Error::unsupported("this model turns text into features and generates no text")),
        }
    }
}

/// The table as JSON: an array of objects with `model_type`, `kind` and `alias_of`.
pub fn to_json() -> Value {
    let row = |a: &Architecture| json!({"model_type": a.model_type, "kind": a.kind().name(), "alias_of": a.alias_of()});
    ARCHITECTURES.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::decoder::Head;
    use crate::test_support::fixture::{Recipe, cases};

    #[test]
    fn rows_are_sorted_and_aliases_lead_to_models() {
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
        assert!(!error.message().contains("test_bigram"));
    }

    fn spec_of(row: &Architecture, config: &Value) -> DecoderSpec {
        match row.build {
            Build::Decoder(spec) => checked(spec, &normalize(config)).unwrap(),
            Build::Alias(of) => spec_of(find(of).unwrap(), config),
            _ => panic!("{} is no decoder", row.model_type),
        }
    }

    /// The specification, or of a model written by hand the sizes.
    fn described(row: &Architecture, config: &Value) -> String {
        match row.build {
            Build::ByHand(_) => format!("{:?}", row.shape(config).unwrap()),
            _ => format!("{:?}", spec_of(row, config)),
        }
    }

    /// As transformers 5 would write it, from as transformers 4 did.
    fn modern(config: &Value) -> Value {
        let mut config = config.clone();
        let map = config.as_object_mut().unwrap();
        if let Some(text) = map.get_mut("text_config") {
            *text = modern(text);
            return config;
        }
        let scaling = map.remove("rope_scaling").filter(|v| !v.is_null());
        let mut block = scaling.unwrap_or_else(|| json!({}));
        let block = block.as_object_mut().unwrap();
        let kind = block.remove("type").or_else(|| block.remove("rope_type")).unwrap_or_else(|| json!("default"));
        block.insert("rope_type".into(), kind);
        let theta = map.remove("rope_theta");
        let part = map.remove("partial_rotary_factor");
        for (key, value) in [("rope_theta", theta), ("partial_rotary_factor", part)] {
            block.extend(value.map(|value| (key.to_owned(), value)));
        }
        let block = Value::Object(block.clone());
        let block = match map.remove("rope_local_base_freq") {
            Some(local) => json!({
                "full_attention": block,
                "sliding_attention": {"rope_type": "default", "rope_theta": local},
            }),
            None => block,
        };
        map.entry("rope_parameters").or_insert(block);
        for (old, new) in [("num_experts", "num_local_experts"), ("torch_dtype", "dtype")] {
            match (map.remove(old), map.remove(new)) {
                (Some(value), _) => map.insert(new.into(), value),
                (None, Some(value)) => map.insert(old.into(), value),
                (None, None) => None,
            };
        }
        config
    }

    /// `2048.0` for integers, 1 and 0 for booleans.
    fn loose(value: &Value) -> Value {
        match value {
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), loose(value))).collect(),
            Value::Array(items) => items.iter().map(loose).collect(),
            Value::Number(n) => n.as_f64().map_or(Value::Null, Value::from),
            Value::Bool(b) => json!(u8::from(*b)),
            other => other.clone(),
        }
    }

    #[test]
    fn every_spelling_describes_the_same_model() {
        for case in cases() {
            let config = Recipe::load(&case).config;
            let model_type = config["model_type"].clone();
            let row = find(model_type.as_str().unwrap()).unwrap();
            let want = described(row, &config);
            let mut with_nothing = config.clone();
            for key in ["text_config", "rope_scaling", "head_dim", "sliding_window", "quantization_config"] {
                let map = with_nothing.as_object_mut().unwrap();
                map.entry(key).or_insert(if key.ends_with("config") { json!({}) } else { Value::Null });
            }
            let nested = json!({"model_type": model_type, "hidden_size": 1, "text_config": modern(&config)});
            for (how, other) in [
                ("transformers 5", modern(&config)),
                ("nothings", with_nothing),
                ("loose numbers", loose(&config)),
                ("all at once", loose(&nested)),
            ] {
                assert_eq!(described(row, &other), want, "{case}: {how}");
            }
        }
    }

    #[test]
    fn shapes_count_what_checkpoints_hold() {
        for case in cases() {
            let recipe = Recipe::load(&case);
            let row = find(recipe.config["model_type"].as_str().unwrap()).unwrap();
            let head = match row.build {
                Build::ByHand(_) => Head::Tied,
                _ => spec_of(row, &recipe.config).head,
            };
            // Of layers that read those of others, which checkpoints of Gemma 3n have nevertheless.
            let layers = recipe.text()["num_hidden_layers"].as_u64().unwrap_or(0);
            let owners = layers - recipe.text()["num_kv_shared_layers"].as_u64().unwrap_or(0);
            let shared: Vec<String> = (owners..layers).map(|i| format!("layers.{i}.self_attn")).collect();
            let keys = |name: &str| ["k_proj.", "v_proj.", "k_norm."].iter().any(|part| name.contains(part));
            let unused = |name: &str| {
                name.ends_with("inv_freq")
                    || ["mtp.", "model.visual."].iter().any(|unused| name.starts_with(unused))
                    || head == Head::Tied && name.starts_with("lm_head.")
                    || keys(name) && shared.iter().any(|layer| name.contains(layer))
            };
            let numbers = |shape: &[usize]| shape.iter().map(|&n| n as u64).product::<u64>();
            let held = recipe.tensors.iter().filter(|t| !unused(&t.name));
            let want: u64 = held.map(|t| numbers(&t.shape)).sum();
            let mut got = row.shape(&recipe.config).unwrap().parameters();
            if head == Head::SeparateIfThere {
                let head = recipe.tensors.iter().filter(|t| t.name.ends_with("lm_head.weight"));
                got += head.map(|t| numbers(&t.shape)).sum::<u64>();
            }
            assert_eq!(got, want, "{case}");
        }
    }
}
