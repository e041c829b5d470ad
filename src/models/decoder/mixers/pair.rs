//! Two mixers side by side (Falcon-H1): both read the input, and both results are added.

use super::kind::{Mix, MixerShape, MixerSpec, SharedKv};
use crate::array::Array;
use crate::cache::StateSpec;
use crate::error::{Error, Result};
use crate::models::config::invalid;
use crate::models::decoder::pass::{At, Memory, Residual, StateUse};
use crate::models::shape::StateShape;
use crate::nn::Input;
use crate::weights::Weights;

/// Two mixers, each with its own state.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair<A, B>(pub A, pub B);

impl<A: MixerSpec, B: MixerSpec> MixerSpec for Pair<A, B> {
    fn validate(&self, state: StateUse) -> Result<()> {
        if state != StateUse::Own {
            return Err(invalid("mixers side by side have states of their own".into()));
        }
        self.0.validate(state)?;
        self.1.validate(state)
    }

    fn load(&self, hidden: i32, state: StateUse, path: &str, w: &Weights) -> Result<Box<dyn Mix>> {
        Ok(Box::new(Both(self.0.load(hidden, state, path, w)?, self.1.load(hidden, state, path, w)?)))
    }

    fn state(&self) -> StateSpec {
        self.0.state()
    }

    fn states(&self) -> Vec<StateSpec> {
        vec![self.0.state(), self.1.state()]
    }

    fn shared(&self) -> Option<SharedKv> {
        None
    }

    fn depends_on_chunks(&self) -> bool {
        self.0.depends_on_chunks() || self.1.depends_on_chunks()
    }

    fn shape(&self, hidden: u64, state: StateUse) -> MixerShape {
        let (mut first, second) = (self.0.shape(hidden, state), self.1.shape(hidden, state));
        first.results.extend(second.results);
        let state = match (first.state, second.state) {
            (StateShape::KeysAndValues { each, .. }, StateShape::Fixed { bytes })
            | (StateShape::Fixed { bytes }, StateShape::KeysAndValues { each, .. }) => StateShape::Both { each, bytes },
            (first, _) => first,
        };
        MixerShape { parameters: first.parameters + second.parameters, state, results: first.results }
    }
}

struct Both(Box<dyn Mix>, Box<dyn Mix>);

impl Mix for Both {
    fn forward(&self, x: Input, at: &At, memory: Memory, onto: Option<Residual>) -> Result<Array> {
        let Memory::Each(states) = memory else { return Err(Error::internal("one state for two mixers")) };
        let x = x.array()?;
        let mut sum = None::<Array>;
        for (mixer, (mask, state)) in [&self.0, &self.1].into_iter().zip(states) {
            let at = At { offset: at.offset, mask };
            let scale = onto.and_then(|onto| onto.scale);
            let onto = match &sum {
                Some(x) => Some(Residual { x, scale }),
                None => onto,
            };
            sum = Some(mixer.forward(Input::plain(&x), &at, Memory::Own(state), onto)?);
        }
        sum.ok_or_else(|| Error::internal("no mixers"))
    }
}
