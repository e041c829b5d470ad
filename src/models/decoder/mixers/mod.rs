//! Mixers, which move information between the positions of a sequence. Each kind is a module with its specification,
//! its tensor names, its state and its share of a memory estimate.

mod attention;
mod kind;

pub use attention::{AttentionBias, AttentionNames, AttentionSpec, HeadWeights, QkNorm, QkvNames};

pub use kind::{Mix, MixerSpec};

macro_rules! mixers {
    ($($name:ident($spec:ty)),+ $(,)?) => {
        /// The mixer, which moves information between positions.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Mixer { $($name($spec)),+ }

        impl Mixer {
            /// Its specification.
            pub fn spec(&self) -> &dyn MixerSpec {
                match self { $(Mixer::$name(spec) => spec),+ }
            }
        }

        $(impl From<$spec> for Mixer {
            fn from(spec: $spec) -> Mixer { Mixer::$name(spec) }
        })+
    };
}

mixers! {
    Attention(AttentionSpec),
}
