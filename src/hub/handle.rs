//! The handle of a hub.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cache::{complete_snapshot, complete_with_tokenizer};
use super::catalog::Catalog;
use super::options::HubOptions;
use super::{Client, Download, DownloadRequest, Storage};
use crate::error::Result;

/// A models directory, how to reach the Hub, and a catalogue of well-known models. Loads, downloads, searches and
/// estimates take one. Clones share it, including the catalogue.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: HubOptions,
    catalog: Catalog,
}

impl Hub {
    /// A hub with the built-in catalogue. Its directory need not exist, and the network is not used.
    pub fn new(options: HubOptions) -> Hub {
        Hub { inner: Arc::new(Inner { options, catalog: Catalog::default() }) }
    }

    /// The hub that the environment describes: [`HubOptions::from_env`].
    ///
    /// # Errors
    /// If there is no models directory, or the token is malformed.
    pub fn from_env() -> Result<Hub> {
        HubOptions::from_env().map(Hub::new)
    }

    /// The hub that the environment describes, with another models directory.
    ///
    /// # Errors
    /// If the token is malformed.
    pub fn with_directory(directory: impl Into<PathBuf>) -> Result<Hub> {
        HubOptions::with_cache(directory).map(Hub::new)
    }

    /// Its options.
    pub fn options(&self) -> &HubOptions {
        &self.inner.options
    }

    /// The models directory.
    pub fn directory(&self) -> &Path {
        &self.inner.options.cache
    }

    /// Its catalogue, to which an app adds its own models.
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// The folder of a model that is complete in the models directory; `None` if anything is missing.
    ///
    /// # Errors
    /// If the id or the revision is malformed, or the directory cannot be read.
    pub fn snapshot(&self, id: &str, revision: Option<&str>) -> Result<Option<PathBuf>> {
        complete_snapshot(self.directory(), id, revision)
    }

    /// Like [`snapshot`](Self::snapshot); `None` also where there is no tokenizer and the kept list of files names none.
    ///
    /// # Errors
    /// As there.
    pub fn snapshot_with_tokenizer(&self, id: &str, revision: Option<&str>) -> Result<Option<PathBuf>> {
        complete_with_tokenizer(self.directory(), id, revision)
    }
}

impl Hub {
    /// What is in the models directory.
    pub fn storage(&self) -> Storage {
        Storage::new(self.directory())
    }

    /// A new client, which can be cancelled without affecting the others of this hub.
    ///
    /// # Errors
    /// If the endpoint or the proxy is malformed.
    pub fn client(&self) -> Result<Client> {
        Client::new(self.options().clone())
    }

    /// Starts a download into the models directory.
    ///
    /// # Errors
    /// As [`Download::start`].
    pub fn download(&self, request: DownloadRequest) -> Result<Download> {
        Download::start(self.options().clone(), request)
    }
}

/// Whether both are the same hub, not merely equal.
impl PartialEq for Hub {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}
