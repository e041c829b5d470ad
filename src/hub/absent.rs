//! Stand-ins for downloads, search and work on the cache in a build without them: the same names, which fail with a
//! clear error. Models in the cache are still found.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mlx_engine_base::progress::Progress;
use serde::Serialize;

use super::options::HubOptions;
use super::progress::FileProgress;
use super::remote::RemoteModel;
use super::search::{SearchPage, SearchQuery};
use super::wanted::DownloadRequest;
use crate::error::{Error, Result};

fn absent<T>() -> Result<T> {
    Err(Error::unsupported("this build of the library has no hub"))
}

fn not_cached<T>(id: &str) -> Result<T> {
    Err(Error::not_found(format!("{id} is not in the model cache, and this build has no downloads")))
}

/// A client that sends no requests.
#[derive(Clone)]
pub struct Client(HubOptions);

impl Client {
    /// A client.
    pub fn new(options: HubOptions) -> Result<Client> {
        Ok(Client(options))
    }

    /// The options of this client.
    pub fn options(&self) -> &HubOptions {
        &self.0
    }

    /// Does nothing: there is no work.
    pub fn cancel(&self) {}

    /// Fails.
    pub fn inspect(&self, id: &str, _: Option<&str>) -> Result<RemoteModel> {
        not_cached(id)
    }

    /// Fails.
    pub fn search(&self, _: &SearchQuery, _: &dyn Fn(&str) -> bool) -> Result<SearchPage> {
        absent()
    }
}

/// A download, of which there is none.
pub struct Download {
    never: Nothing,
}

impl Download {
    /// Fails.
    pub fn start(_: HubOptions, request: DownloadRequest) -> Result<Download> {
        not_cached(&request.id)
    }

    /// Never called.
    pub fn pause(&self) {
        match self.never {}
    }

    /// Never called.
    pub fn resume(&self) {
        match self.never {}
    }

    /// Never called.
    pub fn set_paused(&self, _: bool) {
        match self.never {}
    }

    /// Never called.
    pub fn cancel(&self) {
        match self.never {}
    }

    /// Never called.
    pub fn files(&self) -> Vec<FileProgress> {
        match self.never {}
    }

    /// Never called.
    pub fn commit(&self) -> Option<String> {
        match self.never {}
    }

    /// Never called.
    pub fn wait(&self) -> Result<PathBuf> {
        match self.never {}
    }

    /// Never called.
    pub fn wait_for(&self, _: Duration) -> Option<Result<PathBuf>> {
        match self.never {}
    }

    /// Never called.
    pub fn progress(&self) -> Progress {
        match self.never {}
    }
}

/// The models of a directory, of which nothing is known but what loads find.
pub struct Storage;

/// A model that is kept from being removed; nothing removes any.
pub struct InUse {
    _never: Nothing,
}

/// What a folder has to be.
type ImportCheck<'a> = &'a dyn Fn(&Path) -> Result<()>;

/// What would be imported.
pub struct Import<'a> {
    /// A folder with a model.
    pub folder: PathBuf,
    /// The id it would get.
    pub id: String,
    /// By hard links.
    pub link: bool,
    /// Never called.
    pub check: Option<ImportCheck<'a>>,
}

/// What would be removed.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// Bytes that may stay.
    pub budget: u64,
    /// Ids that stay.
    pub keep: Vec<String>,
    /// Only reports what would be removed.
    pub dry_run: bool,
}

/// What work of a [`Storage`] would give.
#[derive(Debug, Serialize)]
pub enum Nothing {}

/// Hears how far work is.
type Tell<'a> = &'a mut dyn FnMut(&Progress) -> Result<()>;

impl Storage {
    /// The models of a directory.
    pub fn new(_: impl Into<PathBuf>) -> Storage {
        Storage
    }

    /// Always false: no one else is kept away from a model.
    pub fn has(&self, _: &str) -> Result<bool> {
        Ok(false)
    }

    /// Nothing.
    pub fn in_use(&self, _: &str) -> Result<Option<InUse>> {
        Ok(None)
    }

    /// Nothing.
    pub fn mark_used(&self, _: &str) {}

    /// Fails.
    pub fn list(&self) -> Result<Nothing> {
        absent()
    }

    /// Fails.
    pub fn info(&self, _: &str) -> Result<Nothing> {
        absent()
    }

    /// Fails.
    pub fn remove(&self, _: &str, _: Option<&str>) -> Result<Nothing> {
        absent()
    }

    /// Fails.
    pub fn verify(&self, _: Option<&str>, _: bool, _: Tell) -> Result<Nothing> {
        absent()
    }

    /// Fails.
    pub fn import(&self, _: &Import, _: Tell) -> Result<Nothing> {
        absent()
    }

    /// Fails.
    pub fn relocate(&self, _: &Path, _: Tell) -> Result<Nothing> {
        absent()
    }

    /// Fails.
    pub fn prune(&self, _: &Prune, _: Tell) -> Result<Nothing> {
        absent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_left_out_says_so() {
        let options = HubOptions::with_cache("/nowhere").unwrap();
        let client = Client::new(options.clone()).unwrap();
        let error = client.inspect("org/model", None).unwrap_err();
        assert!(error.kind() == ErrorKind::NotFound && error.message().contains("org/model"), "{error}");
        let error = client.search(&SearchQuery::default(), &|_| true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedModel);
        let error = Download::start(options, DownloadRequest::new("org/model", None)).err().unwrap();
        assert!(error.kind() == ErrorKind::NotFound && error.message().contains("no downloads"), "{error}");
        let storage = Storage::new("/nowhere");
        assert!(!storage.has("org/model").unwrap() && storage.in_use("org/model").unwrap().is_none());
        assert_eq!(storage.list().unwrap_err().kind(), ErrorKind::UnsupportedModel);
    }
}
