//! The interface of states.

use std::any::Any;
use std::rc::Rc;

use super::mask::Visible;
use super::saved::Saved;
use crate::array::Array;
use crate::array::fused::{At, Attention, KvBuffer, Mask};
use crate::error::{Error, Result};

/// The contents of one slot of a cache, for one sequence or several. It does not know the positions of its sequences:
/// the cache passes them in.
///
/// A state must not be used after an error.
pub trait State {
    /// Its name in files and messages.
    fn kind(&self) -> &'static str;

    /// Attends with new queries over the stored keys and values and the new ones, which it stores. All are as the
    /// projections produced them, `[rows, length, heads * features]`, and so is the result.
    fn attend(&mut self, _: &Attention, _: [&Array; 3], _: &At<'_>) -> Result<Array> {
        Err(Error::internal(format!("attention over a state of the kind {}", self.kind())))
    }

    /// Attends with the queries of another layer, as their projection produced them, over what is stored, and adds
    /// nothing: after [`State::attend`] in the same pass, with the same mask.
    fn attend_again(&mut self, _: &Attention, _: &Array, _: &At<'_>) -> Result<Array> {
        Err(Error::internal(format!("attention over a state of the kind {}", self.kind())))
    }

    /// Stores new keys and what is beside them, `[rows, heads, length, features]`, and returns all that the mask of the
    /// new positions is about. `None`, storing nothing, where these are not in one place.
    fn extend(&mut self, _keys: &Array, _beside: &Array) -> Result<Option<(Array, Array)>> {
        Ok(None)
    }

    /// The causal mask that the `n` latest positions got, where each sequence has its own state.
    fn mask_again(&self, n: i32) -> Result<Mask> {
        if n == 1 { Ok(Mask::None) } else { Ok(Mask::Causal) }
    }

    /// Which keys `n` new positions may see, given which of the new positions see which.
    fn mask(&self, _n: i32, _: &Visible) -> Result<Mask> {
        Ok(Mask::None)
    }

    /// What determines its masks: in one step, states with equal values have the same mask.
    fn reach(&self) -> Reach {
        Reach::All
    }

    /// Whether its contents can be those of one sequence at `position`.
    fn can_be_at(&self, _position: i32) -> bool {
        false
    }

    /// Whether it could forget the last `counts[row]` of the `positions[row]` positions of each sequence.
    fn can_trim(&self, counts: &[i32], positions: &[i32]) -> bool;

    /// Forgets them. Only where [`State::can_trim`] allows it.
    fn trim(&mut self, counts: &[i32]) -> Result<()>;

    /// What restores it to its present position, however much follows; `None` where [`State::trim`] can do that.
    fn checkpoint(&mut self) -> Result<Option<Box<dyn State>>> {
        self.fork().map(Some)
    }

    /// A copy; both are independent from here on.
    fn fork(&mut self) -> Result<Box<dyn State>>;

    /// The state that replaces it from now on, if the options require that.
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

    /// Appends the state of another sequence; returns it if it has to be kept separate.
    fn push(&mut self, other: Box<dyn State>) -> Result<Option<Box<dyn State>>> {
        Ok(Some(other))
    }

    /// Removes the sequence `row` from several. The rest, even of one, stays of this kind.
    fn take(&mut self, row: usize) -> Result<Box<dyn State>> {
        Err(Error::internal(format!("there is no sequence {row} that could leave")))
    }
}

/// Which keys a mask excludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None.
    All,
    /// Those within a window.
    Window(i32),
    /// Those of the same chunk.
    Chunk(i32),
    /// There are no keys.
    Recurrent,
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
