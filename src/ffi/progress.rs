//! Progress of the work.

use std::ffi::c_char;

use super::TextBuffer;
use crate::progress::{Progress, Stage};

/// Listing the files.
pub const MLXE_STAGE_LISTING: i32 = 1;
/// Downloading configuration, tokenizer and templates.
pub const MLXE_STAGE_CONFIG: i32 = 2;
/// Downloading weights.
pub const MLXE_STAGE_WEIGHTS: i32 = 3;
/// Reading weights into memory.
pub const MLXE_STAGE_READING: i32 = 4;
/// Comparing files with their checksums.
pub const MLXE_STAGE_VERIFYING: i32 = 5;
/// Copying or moving models.
pub const MLXE_STAGE_COPYING: i32 = 6;
/// Removing models.
pub const MLXE_STAGE_REMOVING: i32 = 7;

/// Progress of a download, of other work on models, or of reading weights. Valid during the call it is passed to, as is
/// everything it points to; mlxe_progress_clone() keeps it. Ignore stages you do not know.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mlxe_progress_t {
    /// sizeof the struct in the library; later versions append fields.
    pub struct_size: usize,
    /// What the work is doing: MLXE_STAGE_*
    pub stage: i32,
    /// Whether the task is paused.
    pub is_paused: bool,
    /// The stage's name: "listing", "config", "weights", "reading", "verifying", "copying" or "removing".
    pub stage_name: *const c_char,
    /// The current file, or the model when whole models are moved or removed. Empty if there is none.
    pub file: *const c_char,
    /// Its number within the stage, from 1; 0 if there is none.
    pub file_index: u32,
    /// How many files the stage has, as far as is known.
    pub total_files: u32,
    /// Bytes of the file that are done.
    pub file_bytes_done: u64,
    /// Bytes of the file; 0 where files are not counted individually, as while weights are read.
    pub file_bytes_total: u64,
    /// Bytes that are done, over all files and stages. Never decreases within a phase of a load, and otherwise never.
    pub bytes_done: u64,
    /// Bytes of all files known so far; a download learns the size of its weights after its small files.
    pub bytes_total: u64,
    /// Recent speed in bytes per second; 0 where it is not measured.
    pub bytes_per_second: f64,
    /// Seconds remaining at that speed; negative if unknown.
    pub remaining_seconds: f64,
    /// While waiting to retry: how many attempts have failed in a row; otherwise 0.
    pub retry_attempt: u32,
    /// While waiting to retry: how many attempts may fail before the task does; otherwise 0.
    pub retry_limit: u32,
    /// While waiting to retry: length of the wait in seconds; otherwise 0.
    pub retry_seconds: f64,
    /// While waiting to retry: what went wrong; otherwise NULL.
    pub retry_reason: *const c_char,
    /// What the task waits for another process to finish; NULL where it waits for none.
    pub waiting_for: *const c_char,
}

/// Room for what a progress points to.
#[derive(Default)]
pub(super) struct ProgressBuffer {
    stage: TextBuffer,
    file: TextBuffer,
    reason: TextBuffer,
    waiting: TextBuffer,
}

impl ProgressBuffer {
    /// The progress in C; what it points to is valid until the next call.
    pub fn set(&mut self, progress: &Progress) -> mlxe_progress_t {
        let retry = progress.retry.as_ref();
        mlxe_progress_t {
            struct_size: std::mem::size_of::<mlxe_progress_t>(),
            stage: match progress.stage {
                Stage::Listing => MLXE_STAGE_LISTING,
                Stage::Config => MLXE_STAGE_CONFIG,
                Stage::Weights => MLXE_STAGE_WEIGHTS,
                Stage::Reading => MLXE_STAGE_READING,
                Stage::Verifying => MLXE_STAGE_VERIFYING,
                Stage::Copying => MLXE_STAGE_COPYING,
                Stage::Removing => MLXE_STAGE_REMOVING,
            },
            is_paused: progress.paused,
            stage_name: self.stage.set(progress.stage.name()),
            file: self.file.set(&progress.file),
            file_index: progress.file_index as u32,
            total_files: progress.total_files as u32,
            file_bytes_done: progress.file_bytes_done,
            file_bytes_total: progress.file_bytes_total,
            bytes_done: progress.bytes_done,
            bytes_total: progress.bytes_total,
            bytes_per_second: progress.bytes_per_second,
            remaining_seconds: progress.remaining.map_or(-1.0, |r| r.as_secs_f64()),
            retry_attempt: retry.map_or(0, |r| r.attempt),
            retry_limit: retry.map_or(0, |r| r.limit),
            retry_seconds: retry.map_or(0.0, |r| r.wait.as_secs_f64()),
            retry_reason: retry.map_or(std::ptr::null(), |r| self.reason.set(&r.reason)),
            waiting_for: progress.waiting.as_ref().map_or(std::ptr::null(), |w| self.waiting.set(w)),
        }
    }
}
