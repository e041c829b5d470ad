//! The caches of models as states that can be kept.

use std::cell::RefCell;

use super::store::State;
use crate::cache::{Cache, Checkpoint};
use crate::error::{Error, Result};

impl State for Cache {
    type Mark = RefCell<Checkpoint>;

    fn position(&self) -> usize {
        Cache::position(self) as usize
    }

    fn bytes(&self) -> usize {
        Cache::bytes(self)
    }

    fn fork(&mut self) -> Result<Cache> {
        Cache::fork(self)
    }

    fn needs_marks(&mut self) -> Result<bool> {
        Ok(self.checkpoint()?.holds_states())
    }

    fn can_cut(&self, position: usize) -> bool {
        i32::try_from(position).is_ok_and(|position| self.can_trim_to(position))
    }

    fn cut(&mut self, position: usize) -> Result<()> {
        match self.trim_to(position as i32)? {
            true => Ok(()),
            false => Err(Error::internal(format!("a state cannot go back to position {position}"))),
        }
    }

    fn mark(&mut self) -> Result<RefCell<Checkpoint>> {
        self.checkpoint().map(RefCell::new)
    }

    fn restore(&mut self, mark: &RefCell<Checkpoint>) -> Result<()> {
        self.rewind(&mut mark.borrow_mut())
    }

    fn mark_bytes(mark: &RefCell<Checkpoint>) -> usize {
        mark.borrow().bytes()
    }
}
