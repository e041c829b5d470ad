//! Search results and their quality score.

use serde::Serialize;
use serde_json::Value;

use super::date::days;
use super::weights::Weights;
use super::{Modality, SizeClass};

/// Memory that a model takes in addition to its weights: at least this, or a tenth of its weights if that is more.
const LEAST_OVERHEAD: u64 = 128 << 20;

/// A search result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSummary {
    /// `organisation/name`
    pub id: String,
    /// User or organisation.
    pub author: String,
    /// Its task.
    pub task: Option<String>,
    /// The library it is made for.
    pub library: Option<String>,
    /// Its modality.
    pub modality: Modality,
    /// `model_type` of its configuration.
    pub architecture: Option<String>,
    /// Whether this library supports the architecture; `None` if that is unknown.
    pub supported: Option<bool>,
    /// Number of parameters, quantized or not; from its name if there is no other source.
    pub parameters: Option<u64>,
    /// By number of parameters.
    pub size_class: Option<SizeClass>,
    /// Bits per weight.
    pub bits: Option<u32>,
    /// Bytes of its weights, computed from the Hub's count of numbers of each type.
    pub weight_bytes: Option<u64>,
    /// Roughly what it takes in memory with a short context: its weights and a tenth, but 128 MiB at least. An estimate
    /// of the model itself (`mlxe fit`) is exact.
    pub memory_bytes: Option<u64>,
    /// Its licence, or the first of several.
    pub licence: Option<String>,
    /// All its licences.
    pub licences: Vec<String>,
    /// Its language codes.
    pub languages: Vec<String>,
    /// Whether access must be requested.
    pub gated: bool,
    /// Whether only its owners can read it.
    pub private: bool,
    /// Downloads of the last month.
    pub downloads: u64,
    /// Likes.
    pub likes: u64,
    /// The Hub's trending score.
    pub trending: f64,
    /// When it was created, RFC 3339.
    pub created: Option<String>,
    /// When it was modified, RFC 3339.
    pub modified: Option<String>,
    /// The quality score, 0 to 100; the module documentation has the formula.
    pub quality: f64,
    /// All tags.
    pub tags: Vec<String>,
}

impl ModelSummary {
    /// A model as the Hub's API describes it; `None` where it has no id. `today` is in days since 1970.
    pub fn from_api(entry: &Value, supports: &dyn Fn(&str) -> bool, today: i64) -> Option<ModelSummary> {
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| entry.get(key).and_then(Value::as_u64).unwrap_or(0);
        let list = |v: Option<&Value>| -> Vec<String> {
            match v {
                Some(Value::String(one)) => vec![one.clone()],
                Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                _ => Vec::new(),
            }
        };
        let id = text(entry.get("id").or_else(|| entry.get("modelId")))?;
        let tags = list(entry.get("tags"));
        let task = text(entry.get("pipeline_tag"));
        let card = entry.get("cardData");
        let mut licences: Vec<String> =
            tags.iter().filter_map(|t| t.strip_prefix("license:")).map(str::to_owned).collect();
        for more in list(card.and_then(|c| c.get("license"))) {
            if !licences.contains(&more) {
                licences.push(more);
            }
        }
        let config = entry.get("config");
        let architecture = text(config.and_then(|c| c.get("model_type")));
        let weights = Weights::of(entry, &id, &tags);
        let created = text(entry.get("createdAt"));
        let modified = text(entry.get("lastModified"));
        let mut summary = ModelSummary {
            author: text(entry.get("author")).unwrap_or_else(|| id.split('/').next().unwrap_or_default().to_owned()),
            modality: Modality::of(task.as_deref(), &tags),
            supported: architecture.as_deref().map(supports),
            parameters: weights.parameters,
            size_class: weights.parameters.map(SizeClass::of),
            bits: weights.bits,
            weight_bytes: weights.bytes,
            memory_bytes: weights.bytes.map(|b| b.saturating_add((b / 10).max(LEAST_OVERHEAD))),
            library: text(entry.get("library_name")),
            languages: list(card.and_then(|c| c.get("language"))),
            gated: entry.get("gated").is_some_and(|g| g.as_bool() != Some(false) && !g.is_null()),
            private: entry.get("private").and_then(Value::as_bool).unwrap_or(false),
            downloads: number("downloads"),
            likes: number("likes"),
            trending: entry.get("trendingScore").and_then(Value::as_f64).unwrap_or(0.0),
            quality: 0.0,
            id,
            task,
            architecture,
            licence: licences.first().cloned(),
            licences,
            created,
            modified,
            tags,
        };
        summary.quality = summary.score(today);
        Some(summary)
    }

    fn score(&self, today: i64) -> f64 {
        let grade = |n: f64, decades: f64| ((1.0 + n.max(0.0)).log10() / decades).min(1.0);
        let changed = self.modified.as_deref().or(self.created.as_deref()).and_then(days);
        let fresh = changed.map_or(0.0, |d| 0.5f64.powf((today - d).max(0) as f64 / 365.0));
        let told = [self.licence.is_some(), self.task.is_some(), self.architecture.is_some()];
        let score = 40.0 * grade(self.downloads as f64, 6.0)
            + 20.0 * grade(self.likes as f64, 4.0)
            + 10.0 * grade(self.trending, 2.0)
            + 15.0 * fresh
            + 5.0 * told.into_iter().filter(|t| *t).count() as f64;
        (score * 10.0).round() / 10.0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn summary(entry: Value) -> ModelSummary {
        ModelSummary::from_api(&entry, &|t| t == "known", 20_000).unwrap()
    }

    /// 4 bits in groups of 64 with scales and biases in bf16: 4.5 bits a weight.
    #[test]
    fn quantized_weights_are_counted_whichever_way_the_hub_counts() {
        let weights: u64 = 7_000_000_000;
        let packed = json!({"id": "o/Model-7B-4bit", "config": {"quantization_config": {"bits": 4}},
            "safetensors": {"parameters": {"U32": weights / 8, "BF16": weights / 32}}});
        let m = summary(packed);
        assert_eq!((m.parameters, m.bits), (Some(weights), Some(4)));
        assert_eq!(m.weight_bytes, Some(weights / 2 + weights / 16));
        assert_eq!(m.size_class, Some(SizeClass::Medium));
        let logical = json!({"id": "o/Model-7B-4bit", "config": {"quantization_config": {"bits": 4}},
            "safetensors": {"parameters": {"U32": weights, "BF16": weights / 32}}});
        let m = summary(logical);
        assert_eq!((m.parameters, m.weight_bytes), (Some(weights), Some(weights / 2 + weights / 16)));
        let plain = json!({"id": "o/x", "safetensors": {"parameters": {"BF16": 1000, "F32": 10}}});
        let m = summary(plain);
        assert_eq!((m.parameters, m.bits, m.weight_bytes), (Some(1010), Some(16), Some(2040)));
        assert_eq!(summary(json!({"id": "o/x-3B"})).weight_bytes, None);
    }

    #[test]
    fn every_licence_counts() {
        let m = summary(json!({"id": "o/x", "tags": ["license:mit", "mlx", "license:apache-2.0"],
            "cardData": {"license": ["mit", "other"]}}));
        assert_eq!((m.licence.as_deref(), m.licences.len()), (Some("mit"), 3));
        let wants = |licence: &str| {
            let query = super::super::SearchQuery { licence: Some(licence.into()), ..Default::default() };
            query.accepts(&m)
        };
        assert!(wants("apache-2.0") && wants("other") && wants("MIT") && !wants("gpl-3.0"));
    }

    #[test]
    fn the_score_is_the_documented_sum() {
        let nothing = summary(json!({"id": "o/x"}));
        assert_eq!(nothing.quality, 0.0);
        let all = summary(json!({
            "id": "o/x", "downloads": 999_999, "likes": 9_999, "trendingScore": 99, "lastModified": "2024-10-04",
            "pipeline_tag": "text-generation", "tags": ["license:mit"], "config": {"model_type": "known"},
        }));
        assert_eq!(all.quality, 100.0);
        assert_eq!((all.supported, all.licence.as_deref()), (Some(true), Some("mit")));
        let old = summary(json!({"id": "o/x", "downloads": 999, "lastModified": "2023-10-05"}));
        // 40 * 3/6, and 15 * 0.5 for a year.
        assert_eq!(old.quality, 27.5);
    }

    #[test]
    fn hostile_entries_do_no_harm() {
        for entry in [
            json!(null),
            json!([]),
            json!({"id": 1}),
            json!({"id": "x", "tags": 5, "safetensors": {"parameters": {"U32": u64::MAX, "F64": u64::MAX, "?": 1}},
                   "config": {"quantization_config": {"bits": 0}}, "gated": [], "downloads": -1}),
            json!({"id": "o/99999999999999999b-0bit", "config": {"quantization_config": {"bits": 1}},
                   "safetensors": {"parameters": {"U32": u64::MAX, "BF16": u64::MAX}}}),
        ] {
            let _ = ModelSummary::from_api(&entry, &|_| true, 0);
        }
    }
}
