//! Reading the parts of `config.json` that architectures share.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// Deserialises `config.json`; an error names the key.
///
/// A key that is null counts as absent, so that defaults apply.
pub fn parse<T: DeserializeOwned>(config: &Value) -> Result<T> {
    let mut config = config.clone();
    if let Some(object) = config.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    serde_path_to_error::deserialize(config).map_err(|e| {
        let path = e.path().to_string();
        let at = if path == "." { String::new() } else { format!("{path}: ") };
        Error::invalid_config(format!("config.json: {at}{}", e.inner()))
    })
}

/// Defaults that many architectures share, for `#[serde(default = "..")]`.
pub mod defaults {
    pub fn yes() -> bool {
        true
    }
    pub fn rope_theta() -> f32 {
        10_000.0
    }
    pub fn one() -> f32 {
        1.0
    }
}

/// `hidden_size / num_attention_heads`, refused where it is not a whole number.
pub fn head_dim(hidden_size: i32, heads: i32) -> Result<i32> {
    if heads <= 0 || hidden_size <= 0 || hidden_size % heads != 0 {
        return Err(Error::invalid_config(format!(
            "config.json: hidden_size {hidden_size} is not a multiple of num_attention_heads {heads}"
        )));
    }
    Ok(hidden_size / heads)
}

/// `num_hidden_layers`, bounded: it is multiplied with memory before any weight is looked at.
pub fn layer_count(layers: i32) -> Result<usize> {
    match layers {
        1..=4096 => Ok(layers as usize),
        _ => Err(Error::invalid_config(format!("config.json: num_hidden_layers is {layers}; 1 to 4096 is possible"))),
    }
}
