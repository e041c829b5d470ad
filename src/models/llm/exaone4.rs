//! EXAONE 4: norms after both sublayers and over each head; where some layers have windows, the others have no RoPE.

use serde::Deserialize;
use serde_json::Value;

use super::llama;
use crate::error::Result;
use crate::models::config::{self, Common, FULL, SLIDING, invalid};
use crate::models::decoder::{DecoderSpec, LayerSpec, QkNorm, SubLayer};

#[derive(Deserialize)]
struct Config {
    sliding_window_pattern: Option<Value>,
}

pub fn spec(config: &Value) -> Result<DecoderSpec> {
    let (c, own): (Common, Config) = (config::parse(config)?, config::parse(config)?);
    let norm = c.rms_norm()?;
    let layers = types(&c, own.sliding_window_pattern.as_ref())?.into_iter().map(|kind| {
        let mut attention = llama::attention(&c)?;
        attention.qk_norm = QkNorm::Head(norm);
        attention.window = c.sliding_window.filter(|_| kind == SLIDING);
        if c.sliding_window.is_some() && kind == FULL {
            attention.rope = None;
        }
        Ok(LayerSpec::new(
            SubLayer::bare(attention).after("post_attention_layernorm", norm),
            SubLayer::bare(llama::ffn(&c)).after("post_feedforward_layernorm", norm),
        ))
    });
    llama::decoder(&c, layers.collect::<Result<_>>()?)
}

/// `layer_types`, or what the pattern says: a letter for each layer of a group, or every how many layers one is full.
fn types(c: &Common, pattern: Option<&Value>) -> Result<Vec<String>> {
    let count = c.layer_count()?;
    let full = |i: usize| match pattern {
        None => Ok(true),
        Some(Value::String(letters)) if !letters.is_empty() => Ok(letters.as_bytes()[i % letters.len()] == b'G'),
        Some(every) => match every.as_f64() {
            Some(every) if every >= 1.0 => Ok((i + 1).is_multiple_of(every as usize)),
            _ => Err(invalid(format!("sliding_window_pattern is {every}"))),
        },
    };
    match &c.layer_types {
        Some(types) => config::layer_count(types.len() as i32).map(|_| types.clone()),
        None => (0..count).map(|i| Ok(if full(i)? { FULL } else { SLIDING }.to_owned())).collect(),
    }
}
