//! The recorded state of an unfinished file, for the next process.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};

use super::super::blobs::write;
use super::super::ranges::Ranges;
use super::{State, Transfer};
use crate::files::read_text;

impl Transfer {
    fn state_path(&self) -> PathBuf {
        self.repository.blob(&format!("{}.incomplete.json", self.file.etag()))
    }

    /// The ranges that an earlier process has left.
    pub(super) fn saved_ranges(&self) -> Option<Ranges> {
        let json: Value = serde_json::from_str(&read_text(&self.state_path(), 1 << 20).ok()?).ok()?;
        let fits = json.get("size")?.as_u64()? == self.file.size && json.get("etag")?.as_str()? == self.file.etag();
        fits.then(|| Ranges::from_json(json.get("there")?, self.file.size)).flatten()
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
