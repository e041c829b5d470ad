//! One spelling of `config.json`, whichever release of transformers wrote it.
//!
//! The rules are those by which transformers 5.24 reads older files (`RotaryEmbeddingConfigMixin`, `attribute_map`):
//!
//! - The contents of `text_config` are at the top level.
//! - The RoPE settings are in `rope_parameters`, with `rope_type`, `rope_theta` and perhaps `partial_rotary_factor`:
//!   one block, or one for each type of layer. `rope_theta`, `rope_scaling` and their relatives move there.
//! - Keys with several names are present under all of them.
//! - Empty blocks are absent.

use serde_json::{Map, Value, json};

type Block = Map<String, Value>;

/// Keys that mean the same.
const SYNONYMS: &[&[&str]] = &[
    &["num_experts", "num_local_experts", "n_routed_experts"],
    &["num_experts_per_tok", "moe_topk"],
    &["layer_types", "layers_block_type"],
    &["sliding_window_pattern", "_sliding_window_pattern"],
    &["num_nextn_predict_layers", "num_mtp_layers"],
    &["dtype", "torch_dtype"],
];

/// Blocks that mean the same when empty as when absent.
const BLOCKS: &[&str] = &["rope_scaling", "rope_parameters", "text_config", "quantization", "quantization_config"];

/// The configuration in the one spelling that architectures read. Doing it twice changes nothing.
pub fn normalize(config: &Value) -> Value {
    let Some(mut map) = config.as_object().cloned() else { return config.clone() };
    map.retain(|key, value| !(value.is_null() || BLOCKS.contains(&key.as_str()) && is_empty(value)));
    if let Some(Value::Object(text)) = map.remove("text_config") {
        let own = |key: &str| matches!(key, "model_type" | "architectures");
        map.extend(text.into_iter().filter(|(key, value)| !value.is_null() && !own(key)));
        return normalize(&Value::Object(map));
    }
    for names in SYNONYMS {
        if let Some(value) = names.iter().find_map(|name| map.get(*name)).cloned() {
            for name in *names {
                map.entry(*name).or_insert_with(|| value.clone());
            }
        }
    }
    rotation(&mut map);
    Value::Object(map)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(|map| map.is_empty())
}

/// Collects the RoPE settings.
fn rotation(map: &mut Block) {
    let scaling = map.remove("rope_scaling");
    let theta = first(map, &["rope_theta", "rotary_emb_base", "global_rope_theta"]);
    let local = first(map, &["rope_local_base_freq", "local_rope_theta"]);
    let part = first(map, &["partial_rotary_factor", "rotary_pct", "rope_pct"]);
    // What is not an object stays, for the error that names it.
    let block = match (map.remove("rope_parameters"), scaling) {
        (Some(Value::Object(block)), _) | (None, Some(Value::Object(block))) => block,
        (None, None) => Block::new(),
        (Some(other), _) | (None, Some(other)) => {
            map.insert("rope_parameters".into(), other);
            return;
        }
    };
    let original = map.get("original_max_position_embeddings").cloned();
    let complete = |mut block: Block| {
        if let Some(kind) = block.remove("type") {
            block.entry("rope_type").or_insert(kind);
        }
        for (key, value) in [("rope_theta", &theta), ("partial_rotary_factor", &part)] {
            if let Some(value) = value {
                block.entry(key).or_insert_with(|| value.clone());
            }
        }
        if let Some(original) = &original {
            let (key, value) = ("original_max_position_embeddings".to_owned(), original.clone());
            match block.get("rope_type").and_then(Value::as_str) {
                Some("longrope" | "su") => {
                    block.insert(key, value);
                }
                Some("llama3" | "yarn") => {
                    block.entry(key).or_insert(value);
                }
                _ => {}
            }
        }
        block.retain(|_, value| !value.is_null());
        block
    };
    let by_type = block.values().any(Value::is_object);
    let all = match (by_type, local) {
        // Types without a block (null) do not rotate.
        (true, _) => block
            .into_iter()
            .map(|(kind, value)| match value {
                Value::Object(block) => (kind, Value::Object(complete(block))),
                other => (kind, other),
            })
            .collect(),
        (false, Some(local)) => {
            let sliding = json!({"rope_type": "default", "rope_theta": local});
            Block::from_iter([
                ("full_attention".into(), Value::Object(complete(block))),
                ("sliding_attention".into(), sliding),
            ])
        }
        (false, None) => complete(block),
    };
    if !all.is_empty() {
        map.insert("rope_parameters".into(), Value::Object(all));
    }
}

/// Removes all of these keys and returns the first one present.
fn first(map: &mut Block, keys: &[&str]) -> Option<Value> {
    keys.iter().filter_map(|key| map.remove(*key)).fold(None, |first, value| first.or(Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: Value, b: Value) {
        let (a, b) = (normalize(&a), normalize(&b));
        assert_eq!(a, b);
        assert_eq!(normalize(&a), a);
    }

    #[test]
    fn old_and_new_spellings_meet() {
        same(json!({"rope_theta": 5e5, "rope_scaling": null}), json!({"rope_parameters": {"rope_theta": 5e5}}));
        same(
            json!({"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2}}),
            json!({"rope_parameters": {"rope_type": "linear", "factor": 2, "rope_theta": 1e4}}),
        );
        same(
            json!({"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8}}),
            json!({"rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            }}),
        );
        same(json!({"rotary_pct": 0.25}), json!({"rope_parameters": {"partial_rotary_factor": 0.25}}));
        same(
            json!({"model_type": "a", "text_config": {"model_type": "b", "x": 1, "y": null, "rope_theta": 3.0}, "x": 2}),
            json!({"model_type": "a", "x": 1, "rope_parameters": {"rope_theta": 3.0}}),
        );
        same(json!({"num_local_experts": 4, "torch_dtype": "float16"}), json!({"num_experts": 4, "dtype": "float16"}));
        same(
            json!({"original_max_position_embeddings": 64, "rope_scaling": {"type": "longrope"}}),
            json!({"original_max_position_embeddings": 64,
                "rope_parameters": {"rope_type": "longrope", "original_max_position_embeddings": 64}}),
        );
        same(json!({"text_config": {}, "rope_scaling": {}, "quantization": {}}), json!({}));
    }

    #[test]
    fn the_new_spelling_comes_first() {
        let both = json!({"rope_theta": 1.0, "rope_parameters": {"rope_theta": 2.0}});
        assert_eq!(normalize(&both), json!({"rope_parameters": {"rope_theta": 2.0}}));
        assert_eq!(normalize(&json!({"rope_scaling": 5})), json!({"rope_parameters": 5}));
        assert_eq!(normalize(&json!([1])), json!([1]));
    }
}
