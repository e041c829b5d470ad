//! Steps that are reported before they run.

use std::process::Command;

use super::platform::Platform;
use crate::repository::Result;

/// Says each step, and does it unless the run is dry.
pub struct Runner {
    pub dry: bool,
    step: usize,
}

impl Runner {
    pub fn new(dry: bool) -> Self {
        Runner { dry, step: 0 }
    }

    /// Says a step that is no command.
    pub fn note(&mut self, platform: &Platform, what: &str) {
        self.step += 1;
        println!("[{}] {}: {what}", self.step, platform.slice);
    }

    /// Runs a command and fails if it does.
    pub fn run(&mut self, platform: &Platform, what: &str, command: &mut Command) -> Result {
        self.note(platform, what);
        println!("    {command:?}");
        if !self.dry && !command.status().map_err(|e| format!("{what}: {e}"))?.success() {
            return Err(format!("{}: {what} failed", platform.slice).into());
        }
        Ok(())
    }
}
