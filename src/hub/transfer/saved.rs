//! The recorded state of an unfinished file, for the next process.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::super::blobs::write;
use super::super::ranges::Ranges;
use super::{OURS, State, Transfer};
use crate::files::read_text;

impl Transfer {
    fn state_path(&self) -> PathBuf {
        self.repository.blob(&format!("{}.{OURS}.incomplete.json", self.file.etag()))
    }

    /// The ranges that an earlier process has left.
    pub(super) fn saved_ranges(&self) -> Option<Ranges> {
        self.ranges_in(&self.state_path())
    }

    fn ranges_in(&self, record: &Path) -> Option<Ranges> {
        let json: Value = serde_json::from_str(&read_text(record, 1 << 20).ok()?).ok()?;
        let fits = json.get("size")?.as_u64()? == self.file.size && json.get("etag")?.as_str()? == self.file.etag();
        fits.then(|| Ranges::from_json(json.get("there")?, self.file.size)).flatten()
    }

    /// Makes what another program, or an earlier version of this one, has left of the file ours. Its lock is held.
    ///
    /// The Python libraries append to `{etag}.incomplete` (before 1.18) or to `{etag}.{random}.incomplete`, so what is there
    /// is the beginning of the file. One with holes was written otherwise and is of no use, unless it has a record.
    pub(super) fn take_over(&self) -> Option<Ranges> {
        let etag = self.file.etag();
        let ours = self.incomplete();
        if ours.exists() {
            return None;
        }
        let old = self.repository.blob(&format!("{etag}.incomplete"));
        let record = self.repository.blob(&format!("{etag}.incomplete.json"));
        let recorded = self.ranges_in(&record).filter(|_| old.metadata().is_ok_and(|m| m.len() == self.file.size));
        let _ = fs::remove_file(&record);
        if let Some(ranges) = recorded {
            fs::rename(&old, &ours).ok()?;
            return Some(ranges);
        }
        let names = fs::read_dir(ours.parent()?).into_iter().flatten().flatten();
        let theirs = names.filter(|entry| {
            let name = entry.file_name();
            let rest = name.to_str().and_then(|n| n.strip_prefix(etag)?.strip_suffix(".incomplete"));
            rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
        });
        let usable = |m: &fs::Metadata| m.is_file() && m.len() <= self.file.size && m.blocks() * 512 >= m.len();
        let (length, best) = theirs
            .filter_map(|entry| Some((entry.metadata().ok().filter(usable)?.len(), entry.path())))
            .max_by_key(|(length, _)| *length)?;
        fs::rename(best, &ours).ok()?;
        let mut ranges = Ranges::default();
        ranges.insert(0, length);
        Some(ranges)
    }

    pub(super) fn save(&self, state: &mut State) {
        let there = state.parts.arrived().to_json();
        let json = json!({"etag": self.file.etag(), "size": self.file.size, "there": there});
        // Without it the next process fetches more than it has to; nothing worse.
        if let Err(error) = write(&self.state_path(), json.to_string().as_bytes()) {
            log::warn!("{error}");
        }
        state.saved = Some(Instant::now());
    }

    /// It is useless now.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(self.state_path());
    }
}
