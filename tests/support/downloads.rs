//! What tests of downloads share.

#[path = "hub_server.rs"]
pub mod hub_server;
#[path = "xet_model.rs"]
pub mod in_xet;
#[path = "plain_model.rs"]
pub mod plain;

use std::path::{Path, PathBuf};
use std::time::Duration;

use mlx_engine::Result;
use mlx_engine::hub::{Download, DownloadRequest, HubOptions};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use hub_server::HubServer;

pub const ID: &str = "org/model";

/// Random bytes. Drawing all of a large file takes long in a debug build, so a pattern repeats, at multiples of no range
/// and no chunk.
pub fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut pattern = vec![0; size.min(262_139)];
    StdRng::seed_from_u64(seed).fill_bytes(&mut pattern);
    let mut bytes = pattern.repeat(size.div_ceil(pattern.len().max(1)));
    bytes.truncate(size);
    bytes
}

/// Quick to fail, so that tests are.
pub fn options(server: &HubServer, cache: &Path) -> HubOptions {
    HubOptions {
        endpoint: server.endpoint.clone(),
        token: None,
        cache: cache.into(),
        offline: false,
        asked_offline: false,
        xet: true,
        proxy: None,
        connections: 4,
        retries: 3,
        backoff: Duration::from_millis(5),
        stall: Duration::from_secs(5),
        connect: Duration::from_secs(5),
    }
}

pub fn pull(options: HubOptions) -> Result<PathBuf> {
    Download::start(options, DownloadRequest::new(ID, None))?.wait()
}

/// What is over within 200 ms on an idle machine is so on a busy one, too, if it may try several times.
pub fn quick(mut attempt: impl FnMut() -> Duration) {
    let mut took = Vec::new();
    for _ in 0..8 {
        took.push(attempt());
        if took.last() < Some(&Duration::from_millis(200)) {
            return;
        }
    }
    panic!("never within 200 ms: {took:?}");
}
