//! Mixers, which move information between the positions of a sequence. Each kind is a module with its specification,
//! its tensor names, its state and its share of a memory estimate.

mod attend;
mod attention;
mod gated_delta;
mod kind;
mod mamba;
mod mamba2;
mod mla;
mod nothing;
mod pair;
mod recurrent;
mod short_conv;
mod temperature;

pub use attention::{
    AttentionBias, AttentionNames, AttentionSpec, GateEach, HeadWeights, OutputGate, QkNorm, QkvNames,
};
pub use gated_delta::{DeltaProjections, GatedDeltaSpec};
pub use mamba::{MambaNorms, MambaSpec};
pub use mamba2::{Mamba2Spec, MambaGate};
pub use mla::MlaSpec;
pub use nothing::NoMixer;
pub use pair::Pair;
pub use recurrent::ConvSpec;
pub use short_conv::ShortConvSpec;
pub use temperature::Temperature;

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

            /// The attention, if it is one.
            pub fn attention_mut(&mut self) -> Option<&mut AttentionSpec> {
                match self {
                    Mixer::Attention(spec) => Some(spec),
                    _ => None,
                }
            }
        }

        $(impl From<$spec> for Mixer {
            fn from(spec: $spec) -> Mixer { Mixer::$name(spec) }
        })+
    };
}

mixers! {
    Attention(AttentionSpec),
    AttentionAndMamba(Pair<AttentionSpec, Mamba2Spec>),
    GatedDelta(GatedDeltaSpec),
    Mamba(MambaSpec),
    Mamba2(Mamba2Spec),
    Nothing(NoMixer),
    ShortConv(ShortConvSpec),
    Mla(MlaSpec),
}
