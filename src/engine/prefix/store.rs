//! Which states are kept, and for how long.

use std::collections::HashMap;
use std::rc::Rc;

use super::tree::Tree;
use crate::cache::CacheOptions;
use crate::error::Result;
use crate::generate::ReuseEnd;

/// What a position of a sequence is made of: the id of its token. Above those is room for others, such as hashes of
/// images.
pub type Symbol = u64;

/// The state of a sequence.
pub trait State: Sized {
    /// What has to be written down at a position so that a later state can go back to it.
    type Mark;

    /// How many positions were processed.
    fn position(&self) -> usize;

    fn bytes(&self) -> usize;

    /// An independent copy.
    fn fork(&mut self) -> Result<Self>;

    /// Whether it loses something that [`mark`](Self::mark)s keep.
    fn needs_marks(&mut self) -> Result<bool>;

    /// Whether it still has all of its first `position` positions.
    fn can_cut(&self, position: usize) -> bool;

    /// Goes back to a position that it [has](Self::can_cut).
    fn cut(&mut self, position: usize) -> Result<()>;

    fn mark(&mut self) -> Result<Self::Mark>;

    /// Goes back to where the mark was made, by this state or by one that it continues.
    fn restore(&mut self, mark: &Self::Mark) -> Result<()>;

    fn mark_bytes(mark: &Self::Mark) -> usize;
}

/// A position to which a state can go back.
pub struct Mark<M> {
    pub position: usize,
    pub what: Rc<M>,
}

impl<M> Clone for Mark<M> {
    fn clone(&self) -> Self {
        Mark { position: self.position, what: self.what.clone() }
    }
}

/// States are interchangeable only where all of this is equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// The model's id.
    pub model: u64,
    /// How the state is kept.
    pub cache: CacheOptions,
    /// Only states at whole blocks of this many positions are useful, and were computed block by block.
    pub block: Option<usize>,
}

impl Kind {
    /// The last useful position up to `position`.
    pub fn floor(&self, position: usize) -> usize {
        self.block.map_or(position, |block| position / block * block)
    }
}

/// Marks of one state, in ascending order.
pub struct Marks<M>(Vec<Mark<M>>);

impl<M> Default for Marks<M> {
    fn default() -> Self {
        Marks(Vec::new())
    }
}

impl<M> Clone for Marks<M> {
    fn clone(&self) -> Self {
        Marks(self.0.clone())
    }
}

impl<M> Marks<M> {
    /// The last one up to a position.
    fn last(&self, position: usize) -> Option<&Mark<M>> {
        self.0.iter().rev().find(|m| m.position <= position)
    }

    /// Adds a mark, unless the position has one.
    pub fn add(&mut self, mark: Mark<M>) {
        if let Err(at) = self.0.binary_search_by_key(&mark.position, |m| m.position) {
            self.0.insert(at, mark);
        }
        if self.0.len() > MAX_MARKS {
            // The one that lies closest between its neighbours.
            let gap = |i: &usize| self.0[i + 1].position - self.0[i - 1].position;
            let closest = (1..self.0.len() - 1).min_by_key(gap);
            if let Some(closest) = closest {
                self.0.remove(closest);
            }
        }
    }

    fn add_all(&mut self, other: Marks<M>) {
        other.0.into_iter().for_each(|mark| self.add(mark));
    }

    #[cfg(test)]
    pub fn positions(&self) -> Vec<usize> {
        self.0.iter().map(|m| m.position).collect()
    }
}

/// Marks of one state at most.
const MAX_MARKS: usize = 8;

/// A state and what belongs to it.
pub struct Kept<S: State> {
    pub state: S,
    pub marks: Marks<S::Mark>,
}

impl<S: State> Kept<S> {
    fn bytes(&self) -> usize {
        self.state.bytes() + self.marks.0.iter().map(|m| S::mark_bytes(&m.what)).sum::<usize>()
    }

    /// The last position up to `position` that is of use and to which this can go back; 0 if there is none.
    fn reach(&self, position: usize, kind: &Kind) -> usize {
        let position = kind.floor(position);
        match self.state.can_cut(position) {
            true => position,
            false => self.marks.last(position).map_or(0, |m| m.position),
        }
    }

    /// Goes back to a position that is within [reach](Self::reach).
    fn rewind(&mut self, position: usize) -> Result<()> {
        if self.state.can_cut(position) {
            self.state.cut(position)?;
        } else if let Some(mark) = self.marks.last(position) {
            self.state.restore(&mark.what)?;
        }
        self.marks.0.retain(|m| m.position <= position);
        Ok(())
    }

    /// Goes back to the last position up to `position` that is of use, and says where that is; 0 if there is none.
    pub fn settle(&mut self, kind: &Kind, position: usize) -> Result<usize> {
        let position = self.reach(position, kind);
        if position > 0 {
            self.rewind(position)?;
        }
        Ok(position)
    }
}

/// Keys of evicted states that are remembered, to say that they were.
const MAX_EVICTED: usize = 64;

/// What is known of a new prompt.
pub struct Found<S: State> {
    /// The state to go on from.
    pub kept: Option<Kept<S>>,
    /// How many tokens it saves.
    pub reused: usize,
    /// How many tokens the prompt has in common with something that was kept.
    pub matched: usize,
    /// Why it saves no more.
    pub end: ReuseEnd,
}

impl<S: State> Found<S> {
    /// Nothing, for this reason.
    pub fn nothing(end: ReuseEnd) -> Found<S> {
        Found { kept: None, reused: 0, matched: 0, end }
    }
}

struct Entry<S: State> {
    kind: Kind,
    key: Vec<Symbol>,
    /// None once it was evicted.
    kept: Option<Kept<S>>,
    bytes: usize,
    used: u64,
}

/// States of sequences that have ended, by what they are the state of.
pub struct Store<S: State> {
    budget: usize,
    bytes: usize,
    /// Counts uses.
    clock: u64,
    /// Ids of entries.
    trees: Vec<(Kind, Tree<Symbol, u64>)>,
    entries: HashMap<u64, Entry<S>>,
}

impl<S: State> Store<S> {
    /// For so many bytes at most; none turns it off.
    pub fn new(budget: usize) -> Store<S> {
        Store { budget, bytes: 0, clock: 0, trees: Vec::new(), entries: HashMap::new() }
    }

    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether anything is ever kept.
    pub fn is_on(&self) -> bool {
        self.budget > 0
    }

    /// The state from which to go on with `key`. Its last position is left to be computed.
    pub fn find(&mut self, kind: &Kind, key: &[Symbol]) -> Result<Found<S>> {
        if !self.is_on() {
            return Ok(Found::nothing(ReuseEnd::Disabled));
        }
        let most = key.len().saturating_sub(1);
        let (mut matched, mut evicted, mut best) = (0, 0, (0, 0, 0));
        let mut any = false;
        for (id, shared) in self.shared(kind, key) {
            let entry = &self.entries[&id];
            let shared = shared.min(most);
            any = true;
            match &entry.kept {
                None => evicted = evicted.max(shared),
                Some(kept) => {
                    matched = matched.max(shared);
                    best = best.max((kept.reach(shared, kind), entry.used, id));
                }
            }
        }
        let (reused, _, id) = best;
        let end = if !any {
            ReuseEnd::NothingStored
        } else if reused == kind.floor(most) {
            ReuseEnd::WholePrompt
        } else if kind.floor(evicted) > reused {
            ReuseEnd::Evicted
        } else if kind.floor(matched) > reused {
            ReuseEnd::NotTrimmable
        } else if matched > reused {
            ReuseEnd::Block
        } else {
            ReuseEnd::Differs
        };
        let kept = if reused > 0 { Some(self.hand_out(id, reused)?) } else { None };
        Ok(Found { kept, reused, matched: matched.max(evicted), end })
    }

    /// A state, at an earlier position. It stays here as well, unless all of it is handed out and there is no room for two.
    fn hand_out(&mut self, id: u64, position: usize) -> Result<Kept<S>> {
        self.clock += 1;
        let entry = self.entries.get_mut(&id).expect("found just now");
        entry.used = self.clock;
        let stored = entry.kept.as_mut().expect("found just now");
        if position == stored.state.position() && 2 * entry.bytes > self.budget {
            return Ok(self.remove(id).expect("found just now"));
        }
        let mut kept = Kept { state: stored.state.fork()?, marks: stored.marks.clone() };
        kept.rewind(position)?;
        Ok(kept)
    }

    /// Keeps a state, which is that behind all of `key`.
    pub fn keep(&mut self, kind: &Kind, key: &[Symbol], mut kept: Kept<S>) -> Result<()> {
        if key.is_empty() || kept.bytes() > self.budget {
            return Ok(());
        }
        self.clock += 1;
        let mut related = self.shared(kind, key);
        related.sort_unstable();
        for (id, shared) in related {
            let entry = self.entries.get_mut(&id).expect("in a tree");
            let longer = shared == key.len() && entry.key.len() > shared;
            match &mut entry.kept {
                // One that goes on from here can be cut, or gets a mark.
                Some(other) if longer => {
                    if !other.state.can_cut(key.len()) {
                        let what = kept.state.mark()?;
                        other.marks.add_all(kept.marks);
                        other.marks.add(Mark { position: key.len(), what: Rc::new(what) });
                    }
                    entry.used = self.clock;
                    self.weigh(id);
                    self.shrink(self.budget);
                    return Ok(());
                }
                // One that this goes on from is no longer needed.
                Some(other) if shared == entry.key.len() => {
                    if !kept.state.can_cut(shared) {
                        let what = other.state.mark()?;
                        kept.marks.add_all(std::mem::take(&mut other.marks));
                        kept.marks.add(Mark { position: shared, what: Rc::new(what) });
                    }
                    self.remove(id);
                }
                None if shared == entry.key.len() => drop(self.remove(id)),
                _ => {}
            }
        }
        if kept.bytes() > self.budget {
            return Ok(());
        }
        let id = self.clock;
        self.tree(kind).insert(key, id);
        self.entries.insert(id, Entry { kind: *kind, key: key.to_vec(), kept: Some(kept), bytes: 0, used: id });
        self.weigh(id);
        self.shrink(self.budget);
        Ok(())
    }

    /// Frees states, those first that were not used for longest, until no more than so many bytes are held.
    pub fn shrink(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let held = self.entries.iter_mut().filter(|(_, e)| e.kept.is_some());
            let Some((_, entry)) = held.min_by_key(|(_, e)| e.used) else { break };
            entry.kept = None;
            self.bytes -= std::mem::take(&mut entry.bytes);
        }
        let mut gone: Vec<(u64, u64)> =
            self.entries.iter().filter(|(_, e)| e.kept.is_none()).map(|(id, e)| (e.used, *id)).collect();
        gone.sort_unstable();
        for (_, id) in gone.iter().take(gone.len().saturating_sub(MAX_EVICTED)) {
            self.remove(*id);
        }
    }

    /// Forgets everything, or all that a model left.
    pub fn clear(&mut self, model: Option<u64>) {
        self.trees.retain(|(kind, tree)| {
            let stays = model.is_some_and(|id| kind.model != id);
            if !stays {
                tree.shared(&[], |_, id| {
                    self.bytes -= self.entries.remove(id).map_or(0, |entry| entry.bytes);
                });
            }
            stays
        });
    }

    fn tree(&mut self, kind: &Kind) -> &mut Tree<Symbol, u64> {
        let at = self.trees.iter().position(|(k, _)| k == kind).unwrap_or_else(|| {
            self.trees.push((*kind, Tree::default()));
            self.trees.len() - 1
        });
        &mut self.trees[at].1
    }

    fn shared(&self, kind: &Kind, key: &[Symbol]) -> Vec<(u64, usize)> {
        let mut all = Vec::new();
        if let Some((_, tree)) = self.trees.iter().find(|(k, _)| k == kind) {
            tree.shared(key, |shared, id| all.push((*id, shared)));
        }
        all
    }

    fn remove(&mut self, id: u64) -> Option<Kept<S>> {
        let entry = self.entries.remove(&id)?;
        self.bytes -= entry.bytes;
        self.tree(&entry.kind).remove(&entry.key);
        entry.kept
    }

    /// Counts the bytes of an entry anew.
    fn weigh(&mut self, id: u64) {
        if let Some(entry) = self.entries.get_mut(&id) {
            self.bytes -= entry.bytes;
            entry.bytes = entry.kept.as_ref().map_or(0, Kept::bytes);
            self.bytes += entry.bytes;
        }
    }
}
