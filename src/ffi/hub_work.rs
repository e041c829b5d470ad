//! What the functions of a hub do. Without the feature `hub` they all say that they are not there.

#[cfg(not(feature = "hub"))]
pub(super) use absent::*;
#[cfg(feature = "hub")]
pub(super) use present::*;

/// Tells the caller how far the work is, waits while it is paused, and ends it when it is cancelled.
#[cfg_attr(not(feature = "hub"), expect(dead_code, reason = "there is no work to report"))]
pub(super) trait Reports {
    fn report(&mut self, activity: &crate::hub::Activity) -> crate::error::Result<()>;
    fn wants_pause(&self) -> bool;
    fn is_cancelled(&self) -> bool;
}

#[cfg(feature = "hub")]
mod present {
    use std::path::Path;
    use std::time::Duration;

    use serde::Serialize;
    use serde_json::json;

    use super::Reports;
    use crate::error::{Error, Result};
    use crate::hub::{Activity, DownloadRequest, Hub, Import, Prune};
    use crate::load::check_config;

    /// How often a download is looked at: a pause or a cancel waits for that long at most.
    const TICK: Duration = Duration::from_millis(25);

    fn text(value: impl Serialize) -> Result<String> {
        serde_json::to_string(&value).map_err(|e| Error::internal(e.to_string()))
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

    pub fn verify(hub: &Hub, id: Option<&str>, fix: bool, to: &mut dyn Reports) -> Result<String> {
        text(hub.storage().verify(id, fix, &mut |a| to.report(a))?)
    }

    pub fn import(hub: &Hub, folder: &str, id: &str, link: bool, to: &mut dyn Reports) -> Result<String> {
        let import = Import { folder: folder.into(), id: id.into(), link, check: Some(&check_config) };
        text(hub.storage().import(&import, &mut |a| to.report(a))?)
    }

    pub fn relocate(hub: &Hub, directory: &str, to: &mut dyn Reports) -> Result<String> {
        text(hub.storage().relocate(Path::new(directory), &mut |a| to.report(a))?)
    }

    pub fn prune(hub: &Hub, budget: u64, keep: Vec<String>, dry_run: bool, to: &mut dyn Reports) -> Result<String> {
        text(hub.storage().prune(&Prune { budget, keep, dry_run }, &mut |a| to.report(a))?)
    }

    pub fn pull(hub: &Hub, id: &str, revision: Option<String>, to: &mut dyn Reports) -> Result<String> {
        let request = DownloadRequest { check: Some(Box::new(check_config)), ..DownloadRequest::new(id, revision) };
        let download = hub.download(request)?;
        let mut last = Activity::default();
        let directory = loop {
            let result = download.wait_for(TICK);
            let progress = download.progress();
            let now = Activity::from(&progress);
            // The speed alone is no news.
            let news = Activity { bytes_per_second: last.bytes_per_second, remaining: last.remaining, ..now.clone() };
            if news != last || result.is_some() {
                if to.report(&now).is_err() {
                    download.cancel();
                }
                last = now;
            }
            if to.is_cancelled() {
                download.cancel();
            } else if to.wants_pause() && !progress.paused {
                download.pause();
            } else if !to.wants_pause() && progress.paused {
                download.resume();
            }
            if let Some(result) = result {
                break result?;
            }
        };
        text(json!({"id": id, "commit": download.progress().commit, "directory": directory}))
    }
}

#[cfg(not(feature = "hub"))]
mod absent {
    use super::Reports;
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

    pub fn verify(_: &Hub, _: Option<&str>, _: bool, _: &mut dyn Reports) -> Result<String> {
        absent()
    }

    pub fn import(_: &Hub, _: &str, _: &str, _: bool, _: &mut dyn Reports) -> Result<String> {
        absent()
    }

    pub fn relocate(_: &Hub, _: &str, _: &mut dyn Reports) -> Result<String> {
        absent()
    }

    pub fn prune(_: &Hub, _: u64, _: Vec<String>, _: bool, _: &mut dyn Reports) -> Result<String> {
        absent()
    }

    pub fn pull(_: &Hub, _: &str, _: Option<String>, _: &mut dyn Reports) -> Result<String> {
        absent()
    }
}
