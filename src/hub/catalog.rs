//! Well-known models.
//!
//! The built-in entries are `catalog.json`; an app adds its own to its hub's catalogue. The catalogue has names and
//! round figures only: exact memory needs are estimated from a model's files.
//!
//! Sources of the built-in entries: names, prompts and additional end tokens are those of `LLMRegistry` in
//! ml-explore/mlx-swift-lm (and of Google's page on Gemma's turns). Counts of parameters follow from the sizes in each
//! `config.json` and agree with what the Hub shows for the original models; contexts are those of the configurations
//! or, where a model was trained for less than that, of the model cards.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::name::check_id;
use crate::error::{Error, Result};

/// The built-in entries.
const BUILT_IN: &str = include_str!("catalog.json");
/// The most entries that can be added.
const MAX_ENTRIES: usize = 10_000;
/// The longest string of an entry.
const MAX_TEXT: usize = 4096;

/// A well-known model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogEntry {
    /// `organisation/name`
    pub id: String,
    /// For people.
    pub name: String,
    /// For command lines: unique, without spaces.
    pub short_name: String,
    /// Number of parameters, quantized or not.
    pub parameters: u64,
    /// Bits per weight; 16 if it is not quantized.
    pub bits: u32,
    /// `model_type` of its configuration.
    pub architecture: String,
    /// The context length it was trained for.
    pub context: u64,
    /// A prompt to try it with.
    #[serde(default)]
    pub default_prompt: String,
    /// Tokens that end an answer, in addition to those in its files: a load of this id uses them, if it has a
    /// tokenizer.
    #[serde(default)]
    pub extra_eos: Vec<String>,
}

impl CatalogEntry {
    /// Roughly the bytes of its weights: quantized ones have a scale and a bias of 16 bits for each 64.
    pub fn weight_bytes(&self) -> u64 {
        let half_bits = u64::from(self.bits) * 2 + u64::from(self.bits < 16);
        (u128::from(self.parameters) * u128::from(half_bits) / 16).min(u128::from(u64::MAX)) as u64
    }

    /// Refuses entries that cannot be a model.
    ///
    /// # Errors
    /// `InvalidArgument`, with the key.
    pub fn validate(&self) -> Result<()> {
        check_id(&self.id)?;
        let bad = |what: String| Err(Error::invalid_argument(format!("{}: {what}", self.id)));
        let texts = [&self.name, &self.short_name, &self.architecture, &self.default_prompt];
        if texts.into_iter().chain(&self.extra_eos).any(|t| t.len() > MAX_TEXT) || self.extra_eos.len() > 64 {
            return bad("a text is too long".into());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if self.short_name.is_empty() || !self.short_name.chars().all(plain) {
            return bad(format!("short_name is {:?}; letters, digits and -._ are possible", self.short_name));
        }
        match (1..=64).contains(&self.bits) {
            true => Ok(()),
            false => bad(format!("bits is {}", self.bits)),
        }
    }
}

/// The built-in entries, by id.
static ENTRIES: LazyLock<BTreeMap<String, CatalogEntry>> = LazyLock::new(|| {
    let entries: Vec<CatalogEntry> = serde_json::from_str(BUILT_IN).expect("a test reads it");
    entries.into_iter().map(|e| (e.id.clone(), e)).collect()
});

/// The catalogue of a [`Hub`](super::Hub): the built-in entries and those that an app has added to it.
#[derive(Debug)]
pub struct Catalog {
    entries: RwLock<BTreeMap<String, CatalogEntry>>,
}

/// The built-in entries.
impl Default for Catalog {
    fn default() -> Self {
        Catalog { entries: RwLock::new(ENTRIES.clone()) }
    }
}

impl Catalog {
    /// All entries, smallest model first.
    pub fn entries(&self) -> Vec<CatalogEntry> {
        let mut all: Vec<CatalogEntry> = self.entries.read().values().cloned().collect();
        all.sort_by(|a, b| (a.parameters, &a.id).cmp(&(b.parameters, &b.id)));
        all
    }

    /// The entry with this id.
    pub fn get(&self, id: &str) -> Option<CatalogEntry> {
        self.entries.read().get(id).cloned()
    }

    /// The entry with this id or short name.
    pub fn find(&self, name: &str) -> Option<CatalogEntry> {
        let entries = self.entries.read();
        entries.get(name).or_else(|| entries.values().find(|e| e.short_name == name)).cloned()
    }

    /// Adds an entry, or replaces the one with the same id.
    ///
    /// # Errors
    /// `InvalidArgument` if it cannot be a model, or another has its short name.
    pub fn add(&self, entry: CatalogEntry) -> Result<()> {
        entry.validate()?;
        let mut entries = self.entries.write();
        if let Some(other) = entries.values().find(|e| e.short_name == entry.short_name && e.id != entry.id) {
            return Err(Error::invalid_argument(format!("{} is the short name of {}", entry.short_name, other.id)));
        }
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&entry.id) {
            return Err(Error::invalid_argument(format!("the catalogue is full with {MAX_ENTRIES} entries")));
        }
        entries.insert(entry.id.clone(), entry);
        Ok(())
    }

    /// Adds entries from JSON: an array of entries, or one entry.
    ///
    /// # Errors
    /// As [`add`](Self::add); entries before the refused one have been added.
    pub fn add_json(&self, json: &str) -> Result<()> {
        let malformed = |e: serde_json::Error| Error::invalid_argument(format!("the entry: {e}"));
        let entries: Vec<CatalogEntry> = match json.trim_start().starts_with('[') {
            true => serde_json::from_str(json).map_err(malformed)?,
            false => vec![serde_json::from_str(json).map_err(malformed)?],
        };
        entries.into_iter().try_for_each(|entry| self.add(entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_entries_are_sound() {
        let built_in: Vec<CatalogEntry> = serde_json::from_str(BUILT_IN).unwrap();
        assert!(built_in.len() >= 10);
        let mut names: Vec<&str> = built_in.iter().map(|e| e.short_name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), built_in.len(), "short names are unique");
        for entry in &built_in {
            entry.validate().unwrap();
            assert!(entry.context >= 2048 && entry.parameters >= 100_000_000, "{}", entry.id);
        }
    }

    #[test]
    fn entries_can_be_added_and_found() {
        let json = |id: &str, short: &str| {
            format!(
                r#"{{"id": "{id}", "name": "N", "short_name": "{short}", "parameters": 64, "bits": 4,
                    "architecture": "a", "context": 10}}"#
            )
        };
        let (catalog, other) = (Catalog::default(), Catalog::default());
        catalog.add_json(&json("catalog-test/a", "catalog-test-a")).unwrap();
        assert_eq!(catalog.find("catalog-test-a").unwrap().id, "catalog-test/a");
        assert_eq!(catalog.get("catalog-test/a").unwrap().weight_bytes(), 36);
        assert!(catalog.get("catalog-test-a").is_none() && other.find("catalog-test-a").is_none());
        assert_eq!(catalog.entries().len(), other.entries().len() + 1);
        for (bad, word) in [
            (json("catalog-test/b", "catalog-test-a"), "short name"),
            (json("../b", "b"), "../b"),
            (json("a/b", "a b"), "short_name"),
            ("{}".to_owned(), "id"),
        ] {
            let error = catalog.add_json(&bad).unwrap_err();
            assert!(error.message().contains(word), "{bad}: {error}");
        }
    }
}
