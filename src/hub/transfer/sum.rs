//! The checksum of a file: of a large one computed while it arrives.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::super::checksum::Checksum;
use super::super::disk::disk;
use super::{BUFFER, Transfer};
use crate::error::{Error, Result};
use crate::threads;

/// Files whose checksum is computed while they arrive.
const FOLLOWED: u64 = 4 << 20;

impl Transfer {
    /// The checksum of the whole file.
    pub(super) fn digest(&self) -> Result<String> {
        let mut state = self.state.lock();
        loop {
            let epoch = state.epoch;
            match &state.digest {
                Some((of, digest)) if *of == epoch => return digest.clone(),
                None if self.file.size <= FOLLOWED => break,
                _ => {}
            }
            self.moved.wait_for(&mut state, Duration::from_millis(50));
            self.client.control().check()?;
        }
        let out = state.out.clone().ok_or_else(|| Error::internal("the file is not open"))?;
        drop(state);
        let mut sum = Checksum::of(&self.file);
        self.add(&out, &mut sum, 0, self.file.size)?;
        Ok(sum.hex())
    }

    /// Computes the checksum of a large file while it arrives, on its own thread.
    pub(super) fn follow(self: &Arc<Self>, epoch: u64) -> Result<()> {
        if self.file.size <= FOLLOWED {
            return Ok(());
        }
        let this = self.clone();
        let run = move || {
            let result = this.follow_epoch(epoch);
            if let Some(digest) = result.transpose() {
                this.state.lock().digest = Some((epoch, digest));
                this.moved.notify_all();
            }
        };
        threads::spawn("mlx-checksum", None, run)
    }

    /// `None` if the file is restarted or abandoned meanwhile.
    fn follow_epoch(&self, epoch: u64) -> Result<Option<String>> {
        let mut sum = Checksum::of(&self.file);
        let mut at = 0;
        while at < self.file.size {
            let (out, to) = {
                let mut state = self.state.lock();
                loop {
                    if state.epoch != epoch || self.client.control().is_cancelled() {
                        return Ok(None);
                    }
                    let to = state.parts.arrived().prefix();
                    // In large pieces, except for the last.
                    if to >= (at + (1 << 20)).min(self.file.size) {
                        break (state.out.clone(), to);
                    }
                    self.moved.wait_for(&mut state, Duration::from_millis(50));
                }
            };
            let Some(out) = out else { return Ok(None) };
            self.add(&out, &mut sum, at, to)?;
            at = to;
        }
        Ok(Some(sum.hex()))
    }

    fn add(&self, out: &File, sum: &mut Checksum, mut at: u64, to: u64) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        while at < to {
            self.client.control().check()?;
            let room = buffer.len().min((to - at) as usize);
            out.read_exact_at(&mut buffer[..room], at).map_err(|e| disk(&self.incomplete(), e))?;
            sum.update(&buffer[..room]);
            at += room as u64;
        }
        Ok(())
    }
}
