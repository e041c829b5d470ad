//! One layer with its weights.

use super::ffn::Feed;
use super::mixers::Mix;
use super::pass::{At, Memory, Residual, StateUse};
use super::per_layer::LayerGate;
use super::spec::{Flow, LayerSpec, NormAt, SubLayer};
use crate::array::Array;
use crate::array::fused::Mask;
use crate::cache::{Reach, State, StateSpec, Visible};
use crate::error::Result;
use crate::nn::{Input, Norm};
use crate::weights::Weights;

pub struct Layer {
    attend: Part<Box<dyn Mix>>,
    feed: Part<Box<dyn Feed>>,
    flow: Flow,
    per_layer: Option<LayerGate>,
    scale: Option<Array>,
    pub slot: Slot,
    /// How far the mixer sees.
    pub window: Option<i32>,
}

/// Which entry of the cache a layer uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Its own.
    Own(usize),
    /// Several of its own: the first, and how many.
    Several(usize, usize),
    /// That of another layer.
    Shared(usize),
    /// None.
    None,
}

/// A sublayer with its norms.
struct Part<T> {
    before: Option<Norm>,
    what: T,
    after: Option<Norm>,
    scale: Option<f32>,
}

impl<T> Part<T> {
    fn load<S>(spec: &SubLayer<S>, what: T, hidden: i32, path: &str, w: &Weights) -> Result<Part<T>> {
        let norm = |at: &NormAt| Norm::load(w, &format!("{path}.{}", at.name), hidden, at.spec);
        let (before, after) = (spec.before.as_ref().map(norm).transpose()?, spec.after.as_ref().map(norm).transpose()?);
        Ok(Part { before, what, after, scale: spec.scale })
    }

    fn input<'a>(&'a self, x: &'a Array) -> Input<'a> {
        match &self.before {
            Some(norm) => Input::normed(x, norm),
            None => Input::plain(x),
        }
    }

    /// Adds the result of `f` to `onto`, in the epilogue of its output projection where no norm comes between.
    fn add(&self, onto: &Array, f: impl FnOnce(&T, Option<Residual>) -> Result<Array>) -> Result<Array> {
        let Some(after) = &self.after else {
            return f(&self.what, Some(Residual { x: onto, scale: self.scale }));
        };
        let y = after.forward(&f(&self.what, None)?)?;
        match self.scale {
            Some(scale) => onto + (y * scale),
            None => onto + y,
        }
    }
}

impl Layer {
    pub fn load(spec: &LayerSpec, slot: Slot, hidden: i32, path: &str, w: &Weights) -> Result<Layer> {
        let mixer = spec.attend.what.spec();
        let attend = mixer.load(hidden, spec.state, path, w)?;
        let feed = spec.feed.what.spec().load(hidden, path, w)?;
        let window = match mixer.state() {
            StateSpec::Window(window) => Some(window),
            _ => None,
        };
        Ok(Layer {
            attend: Part::load(&spec.attend, attend, hidden, path, w)?,
            feed: Part::load(&spec.feed, feed, hidden, path, w)?,
            flow: spec.flow,
            per_layer: spec.per_layer.map(|gate| LayerGate::load(gate, hidden, path, w)).transpose()?,
            scale: spec.scale.map(|name| w.tensor(&format!("{path}.{name}"), &[1])).transpose()?,
            slot,
            window,
        })
    }

    /// `beside` is what it gets besides the residual stream.
    pub fn forward(&self, x: &Array, at: &At, memory: Memory, beside: Option<&Array>) -> Result<Array> {
        let mut x = self.sublayers(x, at, memory)?;
        if let (Some(gate), Some(beside)) = (&self.per_layer, beside) {
            x = gate.add(&x, beside)?;
        }
        match &self.scale {
            Some(scale) => x * scale,
            None => Ok(x),
        }
    }

    fn sublayers(&self, x: &Array, at: &At, memory: Memory) -> Result<Array> {
        let (attend, feed) = (&self.attend, &self.feed);
        match self.flow {
            Flow::Sequential => {
                let x = attend.add(x, |mixer, onto| mixer.forward(attend.input(x), at, memory, onto))?;
                feed.add(&x, |ffn, onto| ffn.forward(feed.input(&x), onto))
            }
            Flow::Parallel => {
                // One norm for both is computed once.
                let both = match (&attend.before, &feed.before) {
                    (Some(norm), None) => Some(norm.forward(x)?),
                    _ => None,
                };
                let (first, second) = match &both {
                    Some(normed) => (Input::plain(normed), Input::plain(normed)),
                    None => (attend.input(x), feed.input(x)),
                };
                let sum = attend.add(x, |mixer, onto| mixer.forward(first, at, memory, onto))?;
                feed.add(&sum, |ffn, onto| ffn.forward(second, onto))
            }
        }
    }
}

/// Gives layers with a state their entries of the cache, in order.
pub fn slots(layers: &[LayerSpec]) -> Vec<Slot> {
    let mut slots = Vec::with_capacity(layers.len());
    let mut next = 0;
    for layer in layers {
        slots.push(match layer.state {
            StateUse::Own => {
                let (first, count) = (next, layer.caches().len());
                next += count;
                if count == 1 { Slot::Own(first) } else { Slot::Several(first, count) }
            }
            StateUse::SharedWith(of) => match slots.get(of) {
                Some(Slot::Own(slot)) => Slot::Shared(*slot),
                // Refused when the specification was checked.
                _ => Slot::None,
            },
            StateUse::None => Slot::None,
        });
    }
    slots
}

/// The masks of one forward pass: layers of the same reach share theirs.
pub struct Masks<'a> {
    length: i32,
    visible: &'a Visible,
    made: Vec<(Key, Mask)>,
}

/// The key of a mask: how far a state reaches, or a layer without one.
#[derive(Clone, Copy, PartialEq)]
enum Key {
    Remembered(Reach),
    Alone(Option<i32>),
}

impl<'a> Masks<'a> {
    pub fn new(length: i32, visible: &'a Visible) -> Masks<'a> {
        Masks { length, visible, made: Vec::new() }
    }

    /// The mask over a state. Its owner requests it first, before adding to the state.
    pub fn over(&mut self, state: &dyn State) -> Result<Mask> {
        let (length, visible) = (self.length, self.visible);
        self.get(Key::Remembered(state.reach()), || state.mask(length, visible))
    }

    /// The mask over this pass alone.
    pub fn alone(&mut self, window: Option<i32>) -> Result<Mask> {
        let (length, visible) = (self.length, self.visible);
        self.get(Key::Alone(window), || visible.mask(length, 0, window))
    }

    fn get(&mut self, key: Key, make: impl FnOnce() -> Result<Mask>) -> Result<Mask> {
        if let Some((_, mask)) = self.made.iter().find(|(made, _)| *made == key) {
            return Ok(mask.clone());
        }
        let mask = make()?;
        self.made.push((key, mask.clone()));
        Ok(mask)
    }
}
