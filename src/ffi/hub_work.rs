//! What the functions of a hub do.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::error::{Error, Result};
use crate::hub::{Activity, Download, DownloadRequest, HubOptions, Import, Prune, Storage};
use crate::load::check_config;

/// Tells the caller how far the work is, waits while it is paused, and ends it when it is cancelled.
pub(super) trait Reports {
    fn report(&mut self, activity: &Activity) -> Result<()>;
    fn wants_pause(&self) -> bool;
    fn is_cancelled(&self) -> bool;
}

/// How often a download is looked at: a pause or a cancel waits for that long at most.
const TICK: Duration = Duration::from_millis(25);

fn text(value: impl Serialize) -> Result<String> {
    serde_json::to_string(&value).map_err(|e| Error::internal(e.to_string()))
}

pub(super) fn list(hub: &HubOptions) -> Result<String> {
    text(Storage::new(&hub.cache).list()?)
}

pub(super) fn info(hub: &HubOptions, id: &str) -> Result<String> {
    text(Storage::new(&hub.cache).info(id)?)
}

pub(super) fn remove(hub: &HubOptions, id: &str, revision: Option<&str>) -> Result<String> {
    text(Storage::new(&hub.cache).remove(id, revision)?)
}

pub(super) fn verify(hub: &HubOptions, id: Option<&str>, fix: bool, to: &mut dyn Reports) -> Result<String> {
    text(Storage::new(&hub.cache).verify(id, fix, &mut |a| to.report(a))?)
}

pub(super) fn import(hub: &HubOptions, folder: &str, id: &str, link: bool, to: &mut dyn Reports) -> Result<String> {
    let import = Import { folder: folder.into(), id: id.into(), link, check: Some(&check_config) };
    text(Storage::new(&hub.cache).import(&import, &mut |a| to.report(a))?)
}

pub(super) fn relocate(hub: &HubOptions, directory: &str, to: &mut dyn Reports) -> Result<String> {
    text(Storage::new(&hub.cache).relocate(Path::new(directory), &mut |a| to.report(a))?)
}

pub(super) fn prune(
    hub: &HubOptions,
    budget: u64,
    keep: Vec<String>,
    dry_run: bool,
    to: &mut dyn Reports,
) -> Result<String> {
    text(Storage::new(&hub.cache).prune(&Prune { budget, keep, dry_run }, &mut |a| to.report(a))?)
}

pub(super) fn pull(hub: &HubOptions, id: &str, revision: Option<String>, to: &mut dyn Reports) -> Result<String> {
    let request = DownloadRequest { check: Some(Box::new(check_config)), ..DownloadRequest::new(id, revision) };
    let download = Download::start(hub.clone(), request)?;
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
