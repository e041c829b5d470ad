//! When each model was last used: a small file beside the models.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::super::blobs::write;
use super::super::name::ModelName;
use super::Storage;
use super::lock::lock;
use super::record::{Record, Usage, since_1970};
use crate::error::{Error, ErrorKind, Result};
use crate::files::read_text;

/// Far more models than a disk holds.
const MAX_FILE: u64 = 4 << 20;

impl Storage {
    fn usage_path(&self) -> PathBuf {
        self.own_folder().join("usage.json")
    }

    /// What is known; nothing, where the file is missing or damaged: it only orders what is pruned.
    pub(super) fn usage(&self) -> Record {
        let text = read_text(&self.usage_path(), MAX_FILE).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Changes the record, one process at a time.
    pub(super) fn change_usage(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let path = self.usage_path();
        let _lock = lock(&path.with_extension("lock"), Duration::from_secs(2))?
            .ok_or_else(|| Error::new(ErrorKind::Busy, format!("{} is locked", path.display())))?;
        let mut record = self.usage();
        change(&mut record);
        let text = serde_json::to_string(&record).map_err(|e| Error::internal(e.to_string()))?;
        write(&path, text.as_bytes())
    }

    /// Records that a model is used now. A read-only models directory keeps no record.
    pub fn mark_used(&self, id: &str) {
        let now = since_1970(SystemTime::now());
        let id = ModelName::parse(id).map_or_else(|_| id.to_owned(), |name| name.id);
        let noted = self.change_usage(|record| {
            let usage = record.entry(id.clone()).or_default();
            *usage = Usage { last_used: now.max(usage.last_used), uses: usage.uses + 1 };
        });
        if let Err(error) = noted {
            log::debug!("the use of {id} is not recorded: {error}");
        }
    }

    /// For tests, and for apps that keep their own record: sets when a model was last used.
    pub fn set_last_used(&self, id: &str, at: SystemTime) -> Result<()> {
        self.change_usage(|record| record.entry(id.to_owned()).or_default().last_used = since_1970(at))
    }
}
