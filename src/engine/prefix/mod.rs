//! States of sequences that have ended, from which new prompts continue.
//!
//! Where results must be exactly those without reuse, on a CPU, a state is useful only at whole-chunk boundaries of a
//! prompt: the rest is then computed from the same numbers in the same chunks. On a GPU every position is useful,
//! except for caches whose contents depend on how a sequence was divided.

mod state;
mod store;
#[cfg(test)]
mod tests;
mod tree;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::array::{self, Device, memory, system};
use crate::cache::Cache;
use crate::error::Result;
use crate::generate::{Prefill, Reuse};
use store::{Kept, Kind, Mark, Marks, State, Store, Symbol};

/// Positions between marks of states that cannot go back to any.
const MARK_EVERY: usize = 1024;

/// The default number of bytes to keep: an eighth of what is free, and of what MLX may take.
pub(super) fn default_budget() -> usize {
    let free = system::memory().map_or(0, |m| m.available as usize);
    free.min(limit()) / 8
}

/// Bytes that MLX may hold; it says 0 where there is no limit.
fn limit() -> usize {
    match memory::limit() {
        0 => usize::MAX,
        limit => limit,
    }
}

/// How many bytes are kept, readable from any thread.
pub(super) type Held = Arc<AtomicUsize>;

/// The states that sequences of an engine left.
pub(super) struct Prefixes {
    store: Store<Cache>,
    held: Held,
}

/// How the state of a sequence is stored when it ends.
pub(super) struct Trail {
    kind: Kind,
    /// Tokens of the prompt.
    prompt: usize,
    marks: Marks<<Cache as State>::Mark>,
    /// Positions of the prompt where marks are to be made, in ascending order.
    wanted: Vec<usize>,
}

impl Trail {
    /// How far the prompt is processed before a mark is to be made.
    pub fn next(&self, position: usize) -> Option<usize> {
        self.wanted.iter().copied().find(|wanted| *wanted > position)
    }

    /// A part of the prompt was processed: a mark is made if one is to be made here.
    pub fn mark(&mut self, cache: &mut Cache) -> Result<()> {
        let position = cache.position() as usize;
        if self.wanted.contains(&position) {
            self.marks.add(Mark { position, what: Rc::new(cache.mark()?) });
        }
        Ok(())
    }
}

impl Default for Prefixes {
    fn default() -> Self {
        Prefixes::new(0, Held::default())
    }
}

impl Prefixes {
    /// For so many bytes at most; none turns it off.
    pub fn new(budget: usize, held: Held) -> Prefixes {
        Prefixes { store: Store::new(budget), held }
    }

    /// Lets a prompt continue from its longest known prefix.
    pub fn resume(&mut self, model: u64, prefill: &mut Prefill) -> Result<Trail> {
        let cache = *prefill.sequence.cache_options();
        let exact = array::device() == Device::Cpu || prefill.depends_on_chunks();
        let kind = Kind { model, cache, block: exact.then_some(prefill.step()) };
        let key = symbols(prefill.sequence.prompt());
        let mut trail = Trail { kind, prompt: key.len(), marks: Marks::default(), wanted: Vec::new() };
        let found = self.store.find(&kind, &key)?;
        if let Some(Kept { state, marks }) = found.kept {
            trail.marks = marks;
            let reuse = Reuse { tokens: found.reused, matched: found.matched, end: found.end };
            prefill.resume(state, reuse);
        } else {
            prefill.sequence.reuse(Reuse { tokens: 0, matched: found.matched, end: found.end });
        }
        if self.store.is_on() && prefill.cache.needs_marks()? {
            // At the end, and where other prompts diverged: more of them may.
            let every = (1..).map(|i| kind.floor(i * MARK_EVERY)).take_while(|p| *p < key.len());
            let ends = [kind.floor(found.matched), kind.floor(key.len() - 1)];
            trail.wanted = every.chain(ends).filter(|p| *p > found.reused).collect();
            trail.wanted.sort_unstable();
        }
        self.publish();
        Ok(trail)
    }

    /// Stores the state of a sequence that has processed `tokens`.
    pub fn keep(&mut self, trail: Trail, tokens: &[u32], state: Cache) {
        let Trail { kind, prompt, marks, .. } = trail;
        let store = &mut self.store;
        let is_on = store.is_on();
        let keep = || -> Result<()> {
            let most = (state.position() as usize).min(tokens.len());
            // What was computed token by token is not exactly what a prompt gives.
            let most = if kind.block.is_some() { most.min(prompt - 1) } else { most };
            let mut kept = Kept { state, marks };
            let position = kept.settle(&kind, most)?;
            if position > 0 {
                array::eval(kept.state.arrays())?;
                store.keep(&kind, &symbols(&tokens[..position]), kept)?;
            }
            Ok(())
        };
        if let Err(error) = if is_on { keep() } else { Ok(()) } {
            log::warn!("the state of a sequence could not be kept: {error}");
        }
        self.relieve();
    }

    /// Frees states while MLX holds more than its limit.
    pub fn relieve(&mut self) {
        while self.store.bytes() > 0 && memory::active() > limit() {
            self.store.shrink(self.store.bytes() - 1);
        }
        self.publish();
    }

    /// Frees states of so many bytes, or all there are. Returns whether there were any.
    pub fn make_room(&mut self, bytes: usize) -> bool {
        let before = self.store.bytes();
        self.store.shrink(before.saturating_sub(bytes));
        self.publish();
        self.store.bytes() < before
    }

    /// Frees all states, or those of a model.
    pub fn clear(&mut self, model: Option<u64>) {
        self.store.clear(model);
        self.publish();
    }

    fn publish(&self) {
        self.held.store(self.store.bytes(), Ordering::Release);
    }
}

fn symbols(tokens: &[u32]) -> Vec<Symbol> {
    tokens.iter().map(|&token| Symbol::from(token)).collect()
}
