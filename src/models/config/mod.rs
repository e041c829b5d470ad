//! Reading `config.json`.

mod lenient;
mod normalize;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::nn::rope::RopeScaling;
use crate::nn::{Activation, NormKind, NormSpec, RopeSpec};
use lenient::Lenient;
pub use normalize::normalize;

/// Deserialises a configuration; an error names the key.
///
/// A key that is null counts as absent, so that defaults apply; `2048.0` is accepted for an integer and 1 for a
/// boolean. Unused keys are ignored, so an architecture reads [`Common`] and its own keys from the same configuration.
/// (`#[serde(flatten)]` would lose the key in errors, and the leniency.)
pub fn parse<T: DeserializeOwned>(config: &Value) -> Result<T> {
    serde_path_to_error::deserialize(Lenient(config)).map_err(|e| {
        let path = e.path().to_string();
        let at = if path == "." { String::new() } else { format!("{path}: ") };
        Error::invalid_config(format!("config.json: {at}{}", e.inner()))
    })
}

/// The configuration with defaults for missing keys.
pub fn with_defaults(config: &Value, defaults: Value) -> Value {
    let (Value::Object(mut all), Some(own)) = (defaults, config.as_object()) else { return config.clone() };
    all.extend(own.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone())));
    normalize(&Value::Object(all))
}

/// The configuration with keys under other names too: `(own, common)`. The own key of an architecture counts first.
pub fn renamed(config: &Value, names: &[(&str, &str)]) -> Value {
    let Some(mut map) = config.as_object().cloned() else { return config.clone() };
    for (own, common) in names {
        if let Some(value) = map.get(*own).filter(|value| !value.is_null()).cloned() {
            map.insert((*common).to_owned(), value);
        }
    }
    normalize(&Value::Object(map))
}

/// The activation that a configuration names.
pub fn activation(key: &str, name: &str) -> Result<Activation> {
    match name {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "relu" => Ok(Activation::Relu),
        "relu2" => Ok(Activation::ReluSquared),
        other => Err(Error::unsupported(format!("config.json: {key}: {other:?} is unknown"))),
    }
}

/// The keys that most decoders share.
#[derive(Clone, Debug, Deserialize)]
pub struct Common {
    pub hidden_size: i32,
    pub num_hidden_layers: i32,
    pub num_attention_heads: i32,
    pub vocab_size: i32,
    #[serde(default)]
    pub intermediate_size: i32,
    /// As many as attention heads where absent: [`Common::kv_heads`].
    pub num_key_value_heads: Option<i32>,
    /// `hidden_size` divided by the heads where absent: [`Common::head_dim`].
    pub head_dim: Option<i32>,
    /// [`Common::rms_norm`].
    pub rms_norm_eps: Option<f32>,
    pub max_position_embeddings: Option<i32>,
    pub tie_word_embeddings: Option<bool>,
    #[serde(default)]
    pub attention_bias: bool,
    #[serde(default)]
    pub mlp_bias: bool,
    /// Only in MLX's own conversions.
    #[serde(default)]
    pub rope_traditional: bool,
    /// One block, or one for each type of layer: [`Common::rope`].
    rope_parameters: Option<Value>,
    /// One per layer.
    pub layer_types: Option<Vec<String>>,
    pub sliding_window: Option<i32>,
}

/// Full-attention layers.
pub const FULL: &str = "full_attention";
/// Sliding-window layers.
pub const SLIDING: &str = "sliding_attention";

impl Common {
    /// `num_key_value_heads`
    pub fn kv_heads(&self) -> i32 {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// `head_dim`, or `hidden_size / num_attention_heads`, refused where that is not a whole number.
    pub fn head_dim(&self) -> Result<i32> {
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        match self.head_dim {
            Some(dim) if dim > 0 => Ok(dim),
            _ if heads > 0 && hidden > 0 && hidden % heads == 0 => Ok(hidden / heads),
            _ => Err(invalid(format!("hidden_size {hidden} is not a multiple of num_attention_heads {heads}"))),
        }
    }

    /// An RMS norm with `rms_norm_eps`.
    pub fn rms_norm(&self) -> Result<NormSpec> {
        Ok(NormSpec { kind: NormKind::Rms, eps: required("rms_norm_eps", self.rms_norm_eps)? })
    }

    /// `num_hidden_layers`, bounded: it determines memory before any weight is checked.
    pub fn layer_count(&self) -> Result<usize> {
        layer_count(self.num_hidden_layers)
    }

    /// RoPE of `head_dim` features, with a base in case the configuration has none. If each type of layer has its own,
    /// that of full-attention layers.
    pub fn rope(&self, head_dim: i32, base: Option<f32>) -> Result<RopeSpec> {
        match self.nested(FULL) {
            Some(block) => self.rope_from("rope_parameters.full_attention", block, head_dim, base),
            None => {
                let none = Value::Null;
                let block = self.rope_parameters.as_ref().unwrap_or(&none);
                self.rope_from("rope_parameters (rope_scaling)", block, head_dim, base)
            }
        }
    }

    /// RoPE of a type of layer, if it has its own.
    pub fn rope_of(&self, layer_type: &str, head_dim: i32, base: Option<f32>) -> Result<RopeSpec> {
        let block = self.nested(layer_type).unwrap_or(&Value::Null);
        self.rope_from(&format!("rope_parameters.{layer_type}"), block, head_dim, base)
    }

    /// Whether this type of layer has its own RoPE.
    pub fn has_rope_of(&self, layer_type: &str) -> bool {
        self.nested(layer_type).is_some()
    }

    /// A further setting of RoPE, where all layers have the same.
    pub fn rope_setting(&self, key: &str) -> Result<Option<f32>> {
        match self.rope_parameters.as_ref().and_then(|block| block.get(key)) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(n) => Ok(Some(n as f32)),
                None => Err(invalid(format!("rope_parameters (rope_scaling).{key} is {value}, not a number"))),
            },
        }
    }

    fn nested(&self, layer_type: &str) -> Option<&Value> {
        self.rope_parameters.as_ref()?.get(layer_type).filter(|block| block.is_object())
    }

    fn rope_from(&self, at: &str, block: &Value, head_dim: i32, base: Option<f32>) -> Result<RopeSpec> {
        #[derive(Default, Deserialize)]
        struct Block {
            rope_theta: Option<f32>,
            partial_rotary_factor: Option<f32>,
        }
        let own: Block = match block {
            Value::Object(_) => parse(block).map_err(|e| e.context(at))?,
            _ => Block::default(),
        };
        let scaling = RopeScaling::parse(at, block, self.max_position_embeddings)?;
        let dims = match (own.partial_rotary_factor, &scaling) {
            (Some(part), RopeScaling::Proportional { .. }) if part <= 1.0 => head_dim,
            (Some(part), _) => (head_dim as f32 * part) as i32,
            (None, _) => head_dim,
        };
        let base = required("rope_theta", own.rope_theta.or(base))?;
        Ok(RopeSpec { dims, interleaved: self.rope_traditional, base, scaling })
    }
}

/// A value that has no default.
pub fn required<T>(key: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| invalid(format!("{key} is missing")))
}

/// A number of layers, bounded.
pub fn layer_count(layers: i32) -> Result<usize> {
    size("num_hidden_layers", layers, 4096).map(|()| layers as usize)
}

/// Refuses what is not in `1..=most`.
pub fn size(key: &str, n: i32, most: i32) -> Result<()> {
    match (1..=most).contains(&n) {
        true => Ok(()),
        false => Err(invalid(format!("{key} is {n}; 1 to {most} is possible"))),
    }
}

/// An error about the configuration.
pub fn invalid(what: String) -> Error {
    Error::invalid_config(format!("config.json: {what}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Wanted {
        count: i32,
        flag: bool,
        #[serde(default = "seven")]
        absent: i32,
        ratio: f32,
        list: Vec<i32>,
        by_name: BTreeMap<String, f64>,
        maybe: Option<bool>,
    }

    fn seven() -> i32 {
        7
    }

    #[test]
    fn numbers_are_what_is_meant() {
        let config = json!({"count": 2048.0, "flag": 1, "absent": null, "ratio": 2, "list": [1.0, 2], "by_name": {"a": 3},
            "maybe": 0.0, "unknown": {"x": [null]}});
        let want = Wanted {
            count: 2048,
            flag: true,
            absent: 7,
            ratio: 2.0,
            list: vec![1, 2],
            by_name: BTreeMap::from([("a".to_owned(), 3.0)]),
            maybe: Some(false),
        };
        assert_eq!(parse::<Wanted>(&config).unwrap(), want);
        for (key, value, word) in [
            ("count", json!(2.5), "count: "),
            ("count", json!(1e300), "count: "),
            ("flag", json!(2), "flag: "),
            ("flag", json!("true"), "flag: "),
            ("list", json!([1, 2.5]), "list[1]: "),
            ("by_name", json!({"a": "b"}), "by_name.a: "),
            ("count", Value::Null, "missing field `count`"),
        ] {
            let mut wrong = config.clone();
            wrong[key] = value;
            let error = parse::<Wanted>(&wrong).unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn rotations_are_found_wherever_they_stand() {
        let common = |more: Value| {
            let all = json!({"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 9});
            parse::<Common>(&with_defaults(&more, all)).unwrap()
        };
        let flat = common(json!({"rope_theta": 100, "partial_rotary_factor": 0.5}));
        assert_eq!(flat.rope(16, None).unwrap(), RopeSpec::plain(8, 100.0));
        assert_eq!(flat.rope_of(SLIDING, 16, Some(7.0)).unwrap(), RopeSpec::plain(16, 7.0));
        let nested = common(json!({"rope_parameters": {
            FULL: {"rope_theta": 5.0, "rope_type": "linear", "factor": 2}, SLIDING: {"rope_theta": 3.0}}}));
        assert_eq!(nested.rope(16, None).unwrap().scaling, RopeScaling::Linear { factor: 2.0 });
        assert_eq!(nested.rope_of(SLIDING, 16, None).unwrap(), RopeSpec::plain(16, 3.0));
        assert!(common(json!({})).rope(16, None).unwrap_err().message().contains("rope_theta is missing"));
        let error = common(json!({"rope_parameters": {"rope_theta": "x"}})).rope(16, None).unwrap_err();
        assert!(error.message().contains("rope_theta"), "{error}");
    }
}
