//! What moves information between the positions of a sequence. Each kind is a module with its specification, the names
//! of its tensors, what it remembers and its share of a memory estimate.

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
            /// What its kind says of it.
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
