//! Checkpoints, to which a cache can go back.

use std::cell::Cell;
use std::rc::{Rc, Weak};

use super::state::State;

/// A checkpoint of a cache.
pub struct Checkpoint {
    pub(super) positions: Vec<i32>,
    /// States that cannot be trimmed.
    pub(super) states: Vec<Option<Box<dyn State>>>,
    valid: Rc<Cell<bool>>,
}

impl Checkpoint {
    /// The positions of the sequences there.
    pub fn positions(&self) -> &[i32] {
        &self.positions
    }

    /// Whether it holds anything; if not, trimming goes back as well.
    pub fn holds_states(&self) -> bool {
        self.states.iter().any(Option::is_some)
    }

    /// Memory that it holds, in bytes; some of it may be shared with the cache.
    pub fn bytes(&self) -> usize {
        self.states.iter().flatten().map(|state| state.bytes()).sum()
    }
}

/// A checkpoint as its cache knows it: its positions, and whether the cache can go back to it.
struct Mark {
    positions: Vec<i32>,
    valid: Weak<Cell<bool>>,
}

/// The checkpoints of a cache.
#[derive(Default)]
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    pub fn add(&mut self, positions: Vec<i32>, states: Vec<Option<Box<dyn State>>>) -> Checkpoint {
        self.0.retain(|mark| mark.valid.strong_count() > 0);
        let valid = Rc::new(Cell::new(true));
        self.0.push(Mark { positions: positions.clone(), valid: Rc::downgrade(&valid) });
        Checkpoint { positions, states, valid }
    }

    /// Whether the cache can go back to it.
    pub fn has(&self, checkpoint: &Checkpoint) -> bool {
        let own = |mark: &Mark| std::ptr::eq(mark.valid.as_ptr(), Rc::as_ptr(&checkpoint.valid));
        checkpoint.valid.get() && self.0.iter().any(own)
    }

    /// Everything after these positions is gone, and so are checkpoints there.
    pub fn trimmed_to(&mut self, positions: &[i32]) {
        for mark in &self.0 {
            if let Some(valid) = mark.valid.upgrade()
                && mark.positions.iter().zip(positions).any(|(then, now)| then > now)
            {
                valid.set(false);
            }
        }
    }
}
