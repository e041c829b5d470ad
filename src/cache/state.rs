//! What every kind of state can do.

use std::any::Any;
use std::rc::Rc;

use super::mask::Visible;
use super::saved::Saved;
use crate::array::Array;
use crate::array::fused::{At, Attention, KvBuffer, Mask};
use crate::error::{Error, Result};

/// What one slot of a cache remembers, of one sequence or of several. It does not know at which positions its sequences
/// are: the cache does, and says so.
///
/// After an error a state is not to be used.
pub trait State {
    /// What it is called in files and messages.
    fn kind(&self) -> &'static str;

    /// Attends with new queries over what is remembered and over the new keys and values, which it remembers from now
    /// on. All are as the projections made them, `[rows, length, heads * features]`, and so is the result.
    fn attend(&mut self, _: &Attention, _: [&Array; 3], _: &At<'_>) -> Result<Array> {
        Err(Error::internal(format!("attention over a state of the kind {}", self.kind())))
    }

    /// Attends with the queries of another layer, as their projection made them, over what is remembered, and adds
    /// nothing: after [`State::attend`] in the same pass, with the same mask.
    fn attend_again(&mut self, _: &Attention, _: &Array, _: &At<'_>) -> Result<Array> {
        Err(Error::internal(format!("attention over a state of the kind {}", self.kind())))
    }

    /// The causal mask that the `n` latest positions got, where each sequence has a state of its own.
    fn mask_again(&self, n: i32) -> Result<Mask> {
        if n == 1 { Ok(Mask::None) } else { Ok(Mask::Causal) }
    }

    /// Which keys `n` new positions may see, given which of the new positions see which.
    fn mask(&self, _n: i32, _: &Visible) -> Result<Mask> {
        Ok(Mask::None)
    }

    /// What distinguishes its masks: in one step, states of which this is equal have the same.
    fn reach(&self) -> Reach {
        Reach::All
    }

    /// Whether what it holds is that of one sequence at `position`.
    fn can_be_at(&self, _position: i32) -> bool {
        false
    }

    /// Whether it could forget the last `counts[row]` of the `positions[row]` positions of each sequence.
    fn can_trim(&self, counts: &[i32], positions: &[i32]) -> bool;

    /// Forgets them. Only what [`State::can_trim`] allows.
    fn trim(&mut self, counts: &[i32]) -> Result<()>;

    /// What brings it back to where it is, however much comes after; `None` where [`State::trim`] can do that.
    fn checkpoint(&mut self) -> Result<Option<Box<dyn State>>> {
        self.fork().map(Some)
    }

    /// Another of the same content; both go on for themselves.
    fn fork(&mut self) -> Result<Box<dyn State>>;

    /// What takes its place from now on, where the options say that this should change.
    fn settle(&mut self) -> Result<Option<Box<dyn State>>> {
        Ok(None)
    }

    /// The arrays to compute so that it depends on nothing that is still to be computed.
    fn arrays(&self) -> Vec<&Array>;

    /// Memory that it holds, in bytes.
    fn bytes(&self) -> usize;

    /// What to write to a file, of one sequence.
    fn save(&mut self) -> Result<Saved>;

    /// A state like this empty one, with what was saved.
    ///
    /// # Errors
    /// If that is something else.
    fn load(&self, saved: &Saved) -> Result<Box<dyn State>>;

    /// Keys and values, where they are nothing else.
    fn buffer(&mut self) -> Option<&mut KvBuffer> {
        None
    }

    /// Keys and values in temporal order, where they can be kept in one buffer with those of other sequences.
    fn plain(&mut self) -> Result<Option<Plain>> {
        Ok(None)
    }

    /// Itself, for who knows its kind.
    fn as_any(&mut self) -> Option<&mut dyn Any> {
        None
    }

    /// Adds the state of another sequence behind those that are here; gives it back where it has to be kept apart.
    fn push(&mut self, other: Box<dyn State>) -> Result<Option<Box<dyn State>>> {
        Ok(Some(other))
    }

    /// Takes the sequence `row` out of several. What is left, even of one, takes others out in the same way.
    fn take(&mut self, row: usize) -> Result<Box<dyn State>> {
        Err(Error::internal(format!("there is no sequence {row} that could leave")))
    }
}

/// Which keys a mask tells from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None.
    All,
    /// Those within a window.
    Window(i32),
    /// Those of the same chunk.
    Chunk(i32),
}

/// Keys and values of all positions of a sequence, or of its window, and how they become a state again.
pub struct Plain {
    /// The keys and values.
    pub buffer: KvBuffer,
    /// How many positions a query sees, itself included; all if none.
    pub window: Option<i32>,
    /// Makes a state of one sequence of them.
    pub alone: Rc<Alone>,
}

/// Makes a state of the keys and values of one sequence, if there are any.
pub type Alone = dyn Fn(Option<(Array, Array)>) -> Result<Box<dyn State>>;

/// A buffer of these keys and values, if there are any.
pub(super) fn buffer_of(all: Option<(Array, Array)>) -> Result<KvBuffer> {
    all.map_or_else(|| Ok(KvBuffer::default()), |(keys, values)| KvBuffer::from_arrays(keys, values))
}
