//! What to download.

use std::path::Path;

use crate::error::Result;

/// Looks at `config.json` before any weights are downloaded; an error ends the download.
pub type Check = Box<dyn FnOnce(&Path) -> Result<()> + Send>;

/// What to download.
pub struct DownloadRequest {
    /// `organisation/name`
    pub id: String,
    /// Branch, tag or commit; `main` if not given.
    pub revision: Option<String>,
    /// Called with the path of `config.json`, on a thread of the download.
    pub check: Option<Check>,
    /// Where the Hub cannot be asked, a model in the cache will do that has all files of which its kept list knows.
    pub cached_will_do: bool,
}

impl DownloadRequest {
    /// Everything that a model needs.
    pub fn new(id: impl Into<String>, revision: Option<String>) -> Self {
        DownloadRequest { id: id.into(), revision, check: None, cached_will_do: false }
    }
}
