//! What the functions of a hub do. Without the feature `hub` they all say that they are not there.

use crate::engine::Reporter;
use crate::progress::Progress;

#[cfg(not(feature = "hub"))]
pub(super) use absent::*;
#[cfg(feature = "hub")]
pub(super) use present::*;

/// The task's end of work on models.
pub(super) type HubReporter = Reporter<Progress, String>;

#[cfg(feature = "hub")]
mod present {
    use std::path::Path;
    use std::time::Duration;

    use serde::Serialize;
    use serde_json::json;

    use super::HubReporter;
    use crate::error::{Error, Result};
    use crate::hub::{DownloadRequest, Hub, Import, Prune};
    use crate::load::check_config;
    use crate::progress::Progress;

    /// How often downloads and pauses are looked at: a pause or a cancel waits for that long at most.
    const TICK: Duration = Duration::from_millis(25);

    fn text(value: impl Serialize) -> Result<String> {
        serde_json::to_string(&value).map_err(|e| Error::internal(e.to_string()))
    }

    /// Tells how far the work is, waits while it is to be paused, and ends it when it is cancelled.
    fn tell(to: &mut HubReporter, progress: &Progress) -> Result<()> {
        to.event(progress);
        if to.wants_pause() && !to.is_cancelled() {
            to.event(&Progress { paused: true, ..progress.clone() });
            while to.wants_pause() && !to.is_cancelled() {
                std::thread::sleep(TICK);
            }
        }
        match to.is_cancelled() {
            true => Err(Error::cancelled()),
            false => Ok(()),
        }
    }

    pub fn list(hub: &Hub) -> Result<String> {
        text(hub.storage().list()?)
    }

    pub fn info(hub: &Hub, id: &str) -> Result<String> {
        text(hub.storage().info(id)?)
    }

    pub fn remove(hub: &Hub, id: &str, revision: Option<&str>) -> Result<String> {
        text(hub.storage().remove(id, revision)?)
    }

    pub fn verify(hub: &Hub, id: Option<&str>, fix: bool, to: &mut HubReporter) -> Result<String> {
        text(hub.storage().verify(id, fix, &mut |progress| tell(to, progress))?)
    }

    pub fn import(hub: &Hub, folder: &str, id: &str, link: bool, to: &mut HubReporter) -> Result<String> {
        let import = Import { folder: folder.into(), id: id.into(), link, check: Some(&check_config) };
        text(hub.storage().import(&import, &mut |progress| tell(to, progress))?)
    }

    pub fn relocate(hub: &Hub, directory: &str, to: &mut HubReporter) -> Result<String> {
        text(hub.storage().relocate(Path::new(directory), &mut |progress| tell(to, progress))?)
    }

    pub fn prune(hub: &Hub, budget: u64, keep: Vec<String>, dry_run: bool, to: &mut HubReporter) -> Result<String> {
        text(hub.storage().prune(&Prune { budget, keep, dry_run }, &mut |progress| tell(to, progress))?)
    }

    pub fn pull(hub: &Hub, id: &str, revision: Option<String>, to: &mut HubReporter) -> Result<String> {
        let request = DownloadRequest { check: Some(Box::new(check_config)), ..DownloadRequest::new(id, revision) };
        let download = hub.download(request)?;
        let mut last = None;
        let directory = loop {
            let result = download.wait_for(TICK);
            let now = download.progress();
            if !last.as_ref().is_some_and(|last| now.is_where(last)) || result.is_some() {
                to.event(&now);
                last = Some(now);
            }
            match to.is_cancelled() {
                true => download.cancel(),
                false => download.set_paused(to.wants_pause()),
            }
            if let Some(result) = result {
                break result?;
            }
        };
        text(json!({"id": id, "commit": download.commit(), "directory": directory}))
    }
}

#[cfg(not(feature = "hub"))]
mod absent {
    use super::HubReporter;
    use crate::error::{Error, Result};
    use crate::hub::Hub;

    fn absent() -> Result<String> {
        Err(Error::unsupported("this build of the library has no hub"))
    }

    pub fn list(_: &Hub) -> Result<String> {
        absent()
    }

    pub fn info(_: &Hub, _: &str) -> Result<String> {
        absent()
    }

    pub fn remove(_: &Hub, _: &str, _: Option<&str>) -> Result<String> {
        absent()
    }

    pub fn verify(_: &Hub, _: Option<&str>, _: bool, _: &mut HubReporter) -> Result<String> {
        absent()
    }

    pub fn import(_: &Hub, _: &str, _: &str, _: bool, _: &mut HubReporter) -> Result<String> {
        absent()
    }

    pub fn relocate(_: &Hub, _: &str, _: &mut HubReporter) -> Result<String> {
        absent()
    }

    pub fn prune(_: &Hub, _: u64, _: Vec<String>, _: bool, _: &mut HubReporter) -> Result<String> {
        absent()
    }

    pub fn pull(_: &Hub, _: &str, _: Option<String>, _: &mut HubReporter) -> Result<String> {
        absent()
    }
}
