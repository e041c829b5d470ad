//! KV caches and other per-sequence state, and attention over it.
//!
//! A [`Cache`] has slots, as many as the model asks for: a layer may have one, several or none, or share another's. The
//! contents of a slot are a [`State`] of one of several kinds; it takes new keys and values and computes attention
//! itself, because how keys are stored decides how they are multiplied. Only the cache knows the positions of its
//! sequences. Semantics as in mlx-lm 0.32.2 (`models/cache.py`).
#![forbid(unsafe_code)]

mod aligned;
mod checkpoint;
mod chunked;
mod growing;
mod kv;
mod mask;
mod options;
mod quantized;
mod recurrent;
mod rotating;
mod rows;
mod saved;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

pub use checkpoint::Checkpoint;
pub use mask::Visible;
pub use options::{CacheOptions, KvQuantization, Layout, RecurrentSpec, StateSpec};
pub use recurrent::Recurrent;
pub use state::{Alone, Plain, Reach, State};

use crate::array::{self, Array};
use crate::error::{Error, Result};
use aligned::Aligned;
use checkpoint::Marks;
use chunked::Chunked;
use kv::Kv;
use options::KEPT;
use rotating::Rotating;
use rows::Rows;
use saved::SavedCache;

/// The states of one sequence, or of several that are decoded together.
///
/// It must not be used after an error.
pub struct Cache {
    specs: Vec<StateSpec>,
    options: CacheOptions,
    /// The next position of each sequence.
    positions: Vec<i32>,
    slots: Vec<Box<dyn State>>,
    marks: Marks,
}

impl Cache {
    /// An empty cache of one sequence.
    ///
    /// # Errors
    /// `InvalidArgument` if the options do not fit the model, `InvalidConfig` if a window or a chunk has no positions.
    pub fn new(specs: impl IntoIterator<Item = StateSpec>, options: &CacheOptions) -> Result<Cache> {
        options.validate()?;
        let specs: Vec<StateSpec> = specs.into_iter().collect();
        if let Some(q) = options.quantization {
            for spec in &specs {
                if let StateSpec::Full { key_dim, value_dim: value_dim @ 1.. } = *spec {
                    q.check(key_dim)?;
                    q.check(value_dim)?;
                }
            }
        }
        for spec in &specs {
            if let StateSpec::Window(size) | StateSpec::Chunk(size) = spec
                && *size < 1
            {
                return Err(Error::invalid_config(format!("attention over {size} positions")));
            }
        }
        let slots = specs.iter().map(|spec| empty(spec, options)).collect();
        Ok(Cache { specs, options: *options, positions: vec![0], slots, marks: Marks::default() })
    }

    /// How many positions of the first sequence have been processed.
    pub fn position(&self) -> i32 {
        self.positions[0]
    }

    /// The same for each sequence. One number, where the rows of a prompt were processed together from the beginning.
    pub fn positions(&self) -> &[i32] {
        &self.positions
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The state of a slot.
    ///
    /// # Panics
    /// If there is no such slot, as indexing does.
    pub fn slot(&mut self, slot: usize) -> &mut dyn State {
        &mut *self.slots[slot]
    }

    /// The states of consecutive slots.
    ///
    /// # Panics
    /// If there are no such slots, as indexing does.
    pub fn slots_mut(&mut self, range: Range<usize>) -> &mut [Box<dyn State>] {
        &mut self.slots[range]
    }

    /// All layers have processed `n` more positions of each sequence.
    pub fn advance(&mut self, n: i32) {
        self.positions.iter_mut().for_each(|p| *p += n);
    }

    /// The arrays to compute so that the cache depends on nothing that is still to be computed.
    pub fn arrays(&self) -> Vec<&Array> {
        self.slots.iter().flat_map(|slot| slot.arrays()).collect()
    }

    /// Memory that it holds, in bytes. Forks count what they share.
    pub fn bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.bytes()).sum()
    }

    /// Quantizes what has passed the configured position. Called after each chunk and step.
    pub fn settle(&mut self) -> Result<()> {
        for slot in &mut self.slots {
            if let Some(next) = slot.settle()? {
                *slot = next;
            }
        }
        Ok(())
    }

    /// Forgets the given number of last positions of each sequence: what follows gets the results that it would have
    /// got if they had never been there. Returns false, changing nothing, if some slot can no longer do that.
    ///
    /// Everything computed from them must have been evaluated.
    pub fn trim(&mut self, counts: &[i32]) -> Result<bool> {
        let fits = |(n, position): (&i32, &i32)| (0..=*position).contains(n);
        if counts.len() != self.positions.len() || !counts.iter().zip(&self.positions).all(fits) {
            return Ok(false);
        }
        if counts.iter().all(|n| *n == 0) {
            return Ok(true);
        }
        if *counts == *self.positions && counts.len() == 1 {
            self.slots = self.specs.iter().map(|spec| empty(spec, &self.options)).collect();
        } else {
            if !self.slots.iter().all(|slot| slot.can_trim(counts, &self.positions)) {
                return Ok(false);
            }
            for slot in &mut self.slots {
                slot.trim(counts)?;
            }
        }
        self.positions.iter_mut().zip(counts).for_each(|(p, n)| *p -= n);
        self.marks.trimmed_to(&self.positions);
        Ok(true)
    }

    /// [`Cache::trim`] of all sequences to the same position.
    pub fn trim_to(&mut self, position: i32) -> Result<bool> {
        let counts: Vec<i32> = self.positions.iter().map(|p| p - position).collect();
        self.trim(&counts)
    }

    /// Whether [`Cache::trim_to`] could go back to this position of one sequence.
    pub fn can_trim_to(&self, position: i32) -> bool {
        let now = self.positions[0];
        let can = || self.slots.iter().all(|slot| slot.can_trim(&[now - position], &[now]));
        position == now || (self.positions.len() == 1 && (0..now).contains(&position) && can())
    }

    /// A checkpoint of the present position, for [`Cache::restore`]: the way back for states that cannot be trimmed.
    pub fn checkpoint(&mut self) -> Result<Checkpoint> {
        let states = self.slots.iter_mut().map(|slot| slot.checkpoint()).collect::<Result<_>>()?;
        Ok(self.marks.add(self.positions.clone(), states))
    }

    /// Goes back to a checkpoint of this cache, as often as wanted. Returns false, changing nothing, where that is
    /// impossible: it was trimmed to before that meanwhile, or sequences came or left.
    pub fn restore(&mut self, to: &mut Checkpoint) -> Result<bool> {
        if !self.marks.has(to) || to.positions.len() != self.positions.len() {
            return Ok(false);
        }
        self.rewind(to)?;
        Ok(true)
    }

    /// [`Cache::restore`] to a checkpoint of any cache of which this is a continuation, a fork of it for example: up to the
    /// checkpoint, both have processed the same. Only the caller knows whether that is so.
    ///
    /// # Errors
    /// If the checkpoint is of another kind of cache, or ahead of this one.
    pub fn rewind(&mut self, to: &mut Checkpoint) -> Result<()> {
        let ahead = self.positions.iter().zip(&to.positions).any(|(now, then)| now < then);
        if to.positions.len() != self.positions.len() || to.states.len() != self.slots.len() || ahead {
            return Err(Error::internal("a checkpoint of another cache"));
        }
        let counts: Vec<i32> = self.positions.iter().zip(&to.positions).map(|(now, then)| now - then).collect();
        for (slot, state) in self.slots.iter_mut().zip(&mut to.states) {
            match state {
                Some(state) => *slot = state.fork()?,
                None if counts.iter().any(|n| *n > 0) => slot.trim(&counts)?,
                None => {}
            }
        }
        self.positions.clone_from(&to.positions);
        self.marks.trimmed_to(&self.positions);
        Ok(())
    }

    /// A copy of the cache; both are independent from here on. Memory is shared until one of them changes it.
    pub fn fork(&mut self) -> Result<Cache> {
        Ok(Cache {
            specs: self.specs.clone(),
            options: self.options,
            positions: self.positions.clone(),
            slots: self.slots.iter_mut().map(|slot| slot.fork()).collect::<Result<_>>()?,
            marks: Marks::default(),
        })
    }

    /// Appends a sequence of the same model with the same options. After an error neither may be used.
    pub fn push(&mut self, other: Cache, layout: Layout) -> Result<()> {
        // If one state is going to be quantized, and so stays separate, all do.
        let layout = if self.options.quantization.is_some() { Layout::Rows } else { layout };
        if self.options != other.options || self.specs != other.specs || other.positions.len() != 1 {
            return Err(Error::internal("caches of different kinds cannot be joined"));
        }
        let slots = std::mem::take(&mut self.slots).into_iter().zip(other.slots);
        self.slots = slots.map(|(slot, other)| joined(slot, other, layout)).collect::<Result<_>>()?;
        self.positions.extend(other.positions);
        self.marks = Marks::default();
        Ok(())
    }

    /// Removes a sequence; at least one stays. After an error the cache must not be used.
    pub fn remove(&mut self, row: usize) -> Result<Cache> {
        let rows = self.positions.len();
        if row >= rows || rows < 2 {
            return Err(Error::internal(format!("there is no sequence {row} of {rows} that could leave")));
        }
        let mut slots = Vec::with_capacity(self.slots.len());
        for slot in &mut self.slots {
            slots.push(slot.take(row)?);
            // What is left of two sequences is again a state of one.
            if rows == 2 {
                *slot = slot.take(0)?;
            }
        }
        let positions = vec![self.positions.remove(row)];
        self.marks = Marks::default();
        Ok(Cache { specs: self.specs.clone(), options: self.options, positions, slots, marks: Marks::default() })
    }

    /// Writes the cache of one sequence to a safetensors file, with metadata from the caller.
    pub fn save(&mut self, path: &Path, notes: BTreeMap<String, String>) -> Result<()> {
        if self.positions.len() != 1 {
            return Err(Error::internal("several sequences are not saved together"));
        }
        array::eval(self.arrays())?;
        let slots = self.slots.iter_mut().map(|slot| slot.save()).collect::<Result<_>>()?;
        SavedCache { position: self.positions[0], slots, notes }.write(path)
    }

    /// Restores a saved cache of the same model and options into this empty one. Returns the metadata.
    ///
    /// # Errors
    /// `Io`, and `InvalidArgument` if the file is broken or of another model or other options.
    pub fn load(&mut self, path: &Path) -> Result<BTreeMap<String, String>> {
        let bad = |what: String| Error::invalid_argument(format!("{}: {what}", path.display()));
        let saved = SavedCache::read(path)?;
        if saved.slots.len() != self.specs.len() || saved.position < 0 {
            let (its, own) = (saved.slots.len(), self.specs.len());
            return Err(bad(format!("{its} states at position {}; this model has {own}", saved.position)));
        }
        let mut slots = Vec::with_capacity(saved.slots.len());
        for (i, (spec, saved)) in self.specs.iter().zip(&saved.slots).enumerate() {
            let state = empty(spec, &self.options).load(saved);
            slots.push(state.map_err(|e| bad(format!("slot {i}: {}", e.message())))?);
        }
        if let Some((i, slot)) = slots.iter().enumerate().find(|(_, slot)| !slot.can_be_at(saved.position)) {
            return Err(bad(format!("slot {i}: the {} state is not of position {}", slot.kind(), saved.position)));
        }
        self.slots = slots;
        self.positions = vec![saved.position];
        self.marks = Marks::default();
        Ok(saved.notes)
    }
}

/// An empty state.
fn empty(spec: &StateSpec, options: &CacheOptions) -> Box<dyn State> {
    match (spec, options.max_kv_size) {
        (StateSpec::Full { .. }, Some(size)) => Box::new(Rotating::new(size, KEPT)),
        (StateSpec::Full { key_dim, value_dim }, None) => {
            Box::new(Kv::new([*key_dim, *value_dim], options.quantization.filter(|_| *value_dim > 0)))
        }
        (StateSpec::Window(size), _) => Box::new(Rotating::new(*size, 0)),
        (StateSpec::Chunk(size), _) => Box::new(Chunked::new(*size)),
        (StateSpec::Recurrent(specs), _) => Box::new(Recurrent::new(specs.clone())),
    }
}

/// Two states as one of both sequences.
fn joined(mut slot: Box<dyn State>, other: Box<dyn State>, layout: Layout) -> Result<Box<dyn State>> {
    let Some(mut other) = slot.push(other)? else { return Ok(slot) };
    if layout == Layout::Aligned
        && let (Some(all), Some(more)) = (slot.plain()?, other.plain()?)
    {
        let mut all = Aligned::new(all);
        all.join(Aligned::new(more))?;
        return Ok(Box::new(all));
    }
    Ok(Box::new(Rows::of(slot, other)))
}
