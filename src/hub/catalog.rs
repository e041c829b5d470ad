//! Well-known models, and which models were used.
//!
//! The built-in entries are `catalog.json`; an app adds its own at run time. The catalogue knows names and round figures
//! only: what a model takes exactly is estimated from its files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::cache::check_id;
use crate::error::{Error, ErrorKind, Result};
use crate::files::read_text;

/// The built-in entries.
const BUILT_IN: &str = include_str!("catalog.json");
/// Entries that can be added.
const MAX_ENTRIES: usize = 10_000;
/// The longest text of an entry.
const MAX_TEXT: usize = 4096;
/// Models whose use is remembered; the longest unused is forgotten first.
const MAX_USED: usize = 1000;
/// The largest file of uses that is read.
const MAX_FILE: u64 = 1 << 20;

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
    /// Weights, counted as if none were quantized.
    pub parameters: u64,
    /// Bits of its weights; 16 where it is not quantized.
    pub bits: u32,
    /// `model_type` of its configuration.
    pub architecture: String,
    /// Positions it was made for.
    pub context: u64,
    /// A prompt to try it with.
    #[serde(default)]
    pub default_prompt: String,
    /// Tokens that end an answer beside those that its files name.
    #[serde(default)]
    pub extra_eos: Vec<String>,
}

impl CatalogEntry {
    /// Roughly the bytes of its weights: quantized ones have a scale and a bias of 16 bits for each 64.
    pub fn weight_bytes(&self) -> u64 {
        let half_bits = u64::from(self.bits) * 2 + u64::from(self.bits < 16);
        (u128::from(self.parameters) * u128::from(half_bits) / 16).min(u128::from(u64::MAX)) as u64
    }

    /// Refuses what cannot be a model.
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

/// The entries, by id.
static CATALOG: LazyLock<RwLock<BTreeMap<String, CatalogEntry>>> = LazyLock::new(|| {
    let entries: Vec<CatalogEntry> = serde_json::from_str(BUILT_IN).expect("a test reads it");
    RwLock::new(entries.into_iter().map(|e| (e.id.clone(), e)).collect())
});

/// All entries, smallest model first.
pub fn entries() -> Vec<CatalogEntry> {
    let mut all: Vec<CatalogEntry> = CATALOG.read().values().cloned().collect();
    all.sort_by(|a, b| (a.parameters, &a.id).cmp(&(b.parameters, &b.id)));
    all
}

/// The entry with this id or short name.
pub fn find(name: &str) -> Option<CatalogEntry> {
    let catalog = CATALOG.read();
    catalog.get(name).or_else(|| catalog.values().find(|e| e.short_name == name)).cloned()
}

/// Adds an entry for this process, or replaces the one with the same id.
///
/// # Errors
/// `InvalidArgument` if it cannot be a model, or another has its short name.
pub fn add(entry: CatalogEntry) -> Result<()> {
    entry.validate()?;
    let mut catalog = CATALOG.write();
    if let Some(other) = catalog.values().find(|e| e.short_name == entry.short_name && e.id != entry.id) {
        return Err(Error::invalid_argument(format!("{} is the short name of {}", entry.short_name, other.id)));
    }
    if catalog.len() >= MAX_ENTRIES && !catalog.contains_key(&entry.id) {
        return Err(Error::invalid_argument(format!("the catalogue is full with {MAX_ENTRIES} entries")));
    }
    catalog.insert(entry.id.clone(), entry);
    Ok(())
}

/// Adds what a JSON array of entries, or one entry, describes.
///
/// # Errors
/// As [`add`]; entries before the one that is refused have been added.
pub fn add_json(json: &str) -> Result<()> {
    let malformed = |e: serde_json::Error| Error::invalid_argument(format!("the entry: {e}"));
    let entries: Vec<CatalogEntry> = match json.trim_start().starts_with('[') {
        true => serde_json::from_str(json).map_err(malformed)?,
        false => vec![serde_json::from_str(json).map_err(malformed)?],
    };
    entries.into_iter().try_for_each(add)
}

/// How a model was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Usage {
    /// Seconds since 1970.
    pub last_used: u64,
    /// How often.
    pub times: u64,
}

/// The folder for what the library remembers: `MLXE_STATE_DIR`; else on Apple `~/Library/Application Support/MLXEngine`,
/// elsewhere `XDG_STATE_HOME/mlx-engine` or `~/.local/state/mlx-engine`.
///
/// # Errors
/// `NotFound` if none of them is set.
pub fn state_dir() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || set("HOME");
    let found = set("MLXE_STATE_DIR").or_else(|| match cfg!(target_vendor = "apple") {
        true => home().map(|h| h.join("Library/Application Support/MLXEngine")),
        false => set("XDG_STATE_HOME")
            .filter(|p| p.is_absolute())
            .map(|d| d.join("mlx-engine"))
            .or_else(|| home().map(|h| h.join(".local/state/mlx-engine"))),
    });
    found.ok_or_else(|| Error::not_found("no place for state: neither MLXE_STATE_DIR nor HOME is set"))
}

/// What is remembered of uses: `usage.json` in a folder. Several processes may use one at once: each change is made
/// under a lock and published by a rename, so that a reader sees the file before or after it.
#[derive(Clone, Debug)]
pub struct UsageLog {
    folder: PathBuf,
}

impl UsageLog {
    /// The log in a folder, which is made when something is recorded.
    pub fn new(folder: impl Into<PathBuf>) -> UsageLog {
        UsageLog { folder: folder.into() }
    }

    /// All uses, by id. A file that is damaged counts as empty: it is a convenience, not worth an error.
    ///
    /// # Errors
    /// If the file is there but cannot be read.
    pub fn read(&self) -> Result<BTreeMap<String, Usage>> {
        let path = self.file();
        match read_text(&path, MAX_FILE) {
            Ok(text) => Ok(serde_json::from_str(&text).unwrap_or_else(|e| {
                log::warn!("{}: {e}; counted as empty", path.display());
                BTreeMap::new()
            })),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(e) => Err(e),
        }
    }

    /// Notes that a model is used now.
    ///
    /// # Errors
    /// If the id is malformed, or the folder cannot be written to.
    pub fn record(&self, id: &str) -> Result<Usage> {
        check_id(id)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut result = Usage::default();
        self.change(|uses| {
            let usage = uses.entry(id.to_owned()).or_default();
            usage.times = usage.times.saturating_add(1);
            usage.last_used = usage.last_used.max(now);
            result = *usage;
        })?;
        Ok(result)
    }

    /// Forgets a model.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub fn forget(&self, id: &str) -> Result<()> {
        self.change(|uses| {
            uses.remove(id);
        })
    }

    fn file(&self) -> PathBuf {
        self.folder.join("usage.json")
    }

    fn change(&self, edit: impl FnOnce(&mut BTreeMap<String, Usage>)) -> Result<()> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |e| Error::io(&path, e)
        };
        fs::create_dir_all(&self.folder).map_err(io(&self.folder))?;
        let lock_path = self.folder.join("usage.lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(io(&lock_path))?;
        // Released when the file is closed, also by the end of the process.
        lock.lock().map_err(io(&lock_path))?;
        let mut uses = self.read()?;
        edit(&mut uses);
        while uses.len() > MAX_USED {
            let oldest = uses.iter().min_by_key(|(_, u)| u.last_used).map(|(id, _)| id.clone());
            oldest.and_then(|id| uses.remove(&id));
        }
        let text = serde_json::to_string_pretty(&uses).map_err(|e| Error::internal(e.to_string()))?;
        // The lock makes the name ours.
        let new = self.folder.join("usage.json.new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(io(&new))?;
        fs::rename(&new, self.file()).map_err(io(&self.file()))
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
        add_json(&json("catalog-test/a", "catalog-test-a")).unwrap();
        assert_eq!(find("catalog-test-a").unwrap().id, "catalog-test/a");
        assert_eq!(find("catalog-test/a").unwrap().weight_bytes(), 36);
        assert!(entries().iter().any(|e| e.id == "catalog-test/a"));
        for (bad, word) in [
            (json("catalog-test/b", "catalog-test-a"), "short name"),
            (json("../b", "b"), "../b"),
            (json("a/b", "a b"), "short_name"),
            ("{}".to_owned(), "id"),
        ] {
            let error = add_json(&bad).unwrap_err();
            assert!(error.message().contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn uses_are_counted_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let log = UsageLog::new(dir.path().join("new/folder"));
        assert!(log.read().unwrap().is_empty());
        assert_eq!(log.record("o/a").unwrap().times, 1);
        let again = log.record("o/a").unwrap();
        assert_eq!((again.times, again.last_used > 1_600_000_000), (2, true));
        assert!(log.record("../a").is_err());
        log.forget("o/a").unwrap();
        assert!(log.read().unwrap().is_empty());
        fs::write(log.file(), "{\"o/a\": ").unwrap();
        assert!(log.read().unwrap().is_empty(), "a damaged file counts as empty");
        let many: BTreeMap<String, Usage> =
            (0..MAX_USED).map(|i| (format!("o/m{i}"), Usage { last_used: 10 + i as u64, times: 1 })).collect();
        fs::write(log.file(), serde_json::to_string(&many).unwrap()).unwrap();
        log.record("o/new").unwrap();
        let uses = log.read().unwrap();
        assert_eq!(uses.len(), MAX_USED);
        assert!(uses.contains_key("o/new") && !uses.contains_key("o/m0") && uses.contains_key("o/m1"));
    }
}
