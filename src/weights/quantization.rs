//! The `quantization` block of `config.json`, and what the shapes of a quantized layer say about it.
//!
//! Rules as in mlx-lm 0.32.2 (`utils.py`, `load_model`): a layer is quantized where the checkpoint has scales for it,
//! and its shapes tell bits and group size; entries of the block by the layer's path can override them.

use std::collections::HashMap;

use serde_json::Value;

use crate::array::quant::{Mode, Scheme};
use crate::array::{Array, Dtype};
use crate::error::{Error, Result};

/// The parsed block.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantization {
    /// The scheme for layers without an entry of their own.
    pub default: Scheme,
    /// Entries by layer path; `None` says that the layer is not quantized.
    pub layers: HashMap<String, Option<Scheme>>,
}

impl Quantization {
    /// Reads `quantization`, or the same thing under `quantization_config` where that is MLX's own format.
    pub fn from_config(config: &Value) -> Result<Option<Quantization>> {
        for key in ["quantization", "quantization_config"] {
            match config.get(key) {
                // Dequantized when it is read ([`Weights::dequantize_blocks`](super::Weights::dequantize_blocks)).
                Some(Value::Object(block)) if block.get("quant_method").and_then(Value::as_str) == Some("fp8") => {}
                None | Some(Value::Null) => {}
                Some(Value::Object(block)) if block.is_empty() => {}
                Some(block) => return Self::parse(key, block).map(Some),
            }
        }
        Ok(None)
    }

    fn parse(key: &str, block: &Value) -> Result<Quantization> {
        let object =
            block.as_object().ok_or_else(|| Error::invalid_config(format!("config.json: {key} is not an object")))?;
        let foreign = object.get("quant_method").and_then(Value::as_str).unwrap_or("");
        if !matches!(foreign, "" | "affine" | "mxfp4" | "mxfp8" | "nvfp4") {
            return Err(Error::unsupported(format!(
                "config.json: {key}.quant_method {foreign:?} is not MLX's format; convert the model with mlx_lm.convert"
            )));
        }
        let default = scheme(&format!("{key}."), block, None)?;
        let mut layers = HashMap::new();
        for (path, value) in object {
            match value {
                Value::Object(_) => {
                    layers.insert(path.clone(), Some(scheme(&format!("{key}.{path}."), value, Some(default))?));
                }
                Value::Bool(false) => {
                    layers.insert(path.clone(), None);
                }
                Value::Bool(true) => {
                    layers.insert(path.clone(), Some(default));
                }
                _ => {}
            }
        }
        Ok(Quantization { default, layers })
    }
}

/// One scheme; `at` names its place in messages. Without `outer`, bits and group size must be there.
fn scheme(at: &str, value: &Value, outer: Option<Scheme>) -> Result<Scheme> {
    let mode = match value.get("mode").or_else(|| value.get("quant_method")).and_then(Value::as_str) {
        None => Mode::Affine,
        Some(name) => Mode::from_name(name)
            .ok_or_else(|| Error::unsupported(format!("config.json: {at}mode {name:?} is unknown")))?,
    };
    let (mode_group, mode_bits) = match mode {
        Mode::Affine => (None, None),
        Mode::Mxfp4 => (Some(32), Some(4)),
        Mode::Mxfp8 => (Some(32), Some(8)),
        Mode::Nvfp4 => (Some(16), Some(4)),
    };
    let number = |name: &str, fallback: Option<i32>| match value.get(name) {
        None | Some(Value::Null) => {
            fallback.ok_or_else(|| Error::invalid_config(format!("config.json: {at}{name} is missing")))
        }
        Some(n) => n
            .as_f64()
            .filter(|n| n.fract() == 0.0 && n.abs() < f64::from(i32::MAX))
            .map(|n| n as i32)
            .ok_or_else(|| Error::invalid_config(format!("config.json: {at}{name} is {n}, not a small integer"))),
    };
    let scheme = Scheme {
        mode,
        bits: number("bits", mode_bits.or(outer.map(|o| o.bits)))?,
        group_size: number("group_size", mode_group.or(outer.map(|o| o.group_size)))?,
    };
    validate(scheme).map_err(|what| Error::unsupported(format!("config.json: {at}{what}")))?;
    Ok(scheme)
}

/// Whether MLX has kernels for this.
fn validate(scheme: Scheme) -> Result<(), String> {
    let Scheme { mode, bits, group_size } = scheme;
    let (bits_allowed, groups_allowed): (&[i32], &[i32]) = match mode {
        Mode::Affine => (&[2, 3, 4, 5, 6, 8], &[32, 64, 128]),
        Mode::Mxfp4 => (&[4], &[32]),
        Mode::Mxfp8 => (&[8], &[32]),
        Mode::Nvfp4 => (&[4], &[16]),
    };
    if !bits_allowed.contains(&bits) {
        return Err(format!("bits is {bits}; {} has {bits_allowed:?}", mode.name()));
    }
    if !groups_allowed.contains(&group_size) {
        return Err(format!("group_size is {group_size}; {} has {groups_allowed:?}", mode.name()));
    }
    Ok(())
}

/// The scheme of the layer at `path`, whose weight has `columns` columns before packing.
pub(super) fn infer(
    path: &str,
    columns: i32,
    packed: &Array,
    scales: &Array,
    config: Option<&Quantization>,
) -> Result<Scheme> {
    let bad = |what: String| Error::invalid_weights(format!("{path}: {what}"));
    let (words, groups) = match (packed.shape().last(), scales.shape().last()) {
        (Some(&words), Some(&groups)) if words > 0 && groups > 0 => (words, groups),
        _ => return Err(bad("weight or scales are empty".into())),
    };
    let entry = config.and_then(|c| c.layers.get(path));
    if entry == Some(&None) {
        return Err(bad("config.json says it is not quantized, the checkpoint has scales for it".into()));
    }
    if columns % groups != 0 || (i64::from(words) * 32) % i64::from(columns) != 0 {
        return Err(bad(format!("{words} words and {groups} scales a row do not fit {columns} columns")));
    }
    let (group_size, bits) = (columns / groups, (i64::from(words) * 32 / i64::from(columns)) as i32);
    let mode = match (scales.dtype(), group_size, bits) {
        (Dtype::U8, 16, 4) => Mode::Nvfp4,
        (Dtype::U8, 32, 4) => Mode::Mxfp4,
        (Dtype::U8, 32, 8) => Mode::Mxfp8,
        (Dtype::U8, ..) => {
            return Err(bad(format!("no scheme has byte scales, {bits} bits and groups of {group_size}")));
        }
        _ => Mode::Affine,
    };
    let scheme = Scheme { mode, bits, group_size };
    validate(scheme).map_err(&bad)?;
    match entry {
        Some(Some(said)) if *said != scheme => Err(bad(format!(
            "config.json says {} {} bits in groups of {}, the tensors have {} {bits} bits in groups of {group_size}",
            said.mode.name(),
            said.bits,
            said.group_size,
            mode.name()
        ))),
        _ => Ok(scheme),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(block: Value) -> Result<Option<Quantization>> {
        Quantization::from_config(&json!({ "quantization": block }))
    }

    #[test]
    fn reads_defaults_and_layers() {
        let q =
            parse(json!({"bits": 4, "group_size": 64, "a.b": {"bits": 8}, "c": false, "d": true})).unwrap().unwrap();
        let default = Scheme { mode: Mode::Affine, bits: 4, group_size: 64 };
        assert_eq!(q.default, default);
        assert_eq!(q.layers["a.b"], Some(Scheme { bits: 8, ..default }));
        assert_eq!((q.layers["c"], q.layers["d"]), (None, Some(default)));
        assert_eq!(parse(Value::Null).unwrap(), None);
        assert_eq!(parse(json!({})).unwrap(), None);
        assert_eq!(parse(json!({"bits": 4.0, "group_size": 64.0})).unwrap().unwrap().default, default);
    }

    #[test]
    fn refuses_what_mlx_has_not() {
        for (block, word) in [
            (json!({"bits": 7, "group_size": 64}), "bits is 7"),
            (json!({"bits": 4, "group_size": 48}), "group_size is 48"),
            (json!({"bits": 4}), "quantization.group_size is missing"),
            (json!({"bits": "4", "group_size": 64}), "quantization.bits"),
            (json!({"bits": 4, "group_size": 64, "mode": "q4_k"}), "q4_k"),
            (json!({"bits": 4, "group_size": 64, "x": {"bits": 9}}), "quantization.x.bits is 9"),
            (json!({"quant_method": "gptq", "bits": 4, "group_size": 128}), "gptq"),
            (json!([1]), "not an object"),
        ] {
            let error = parse(block.clone()).unwrap_err();
            assert!(error.message().contains(word), "{block}: {error}");
        }
    }
}
