//! Feed-forward parts, which work on each position separately. Each kind is a module with its specification, its tensor
//! names and its share of a memory estimate.

mod beside;
mod gated;
mod kind;
mod moe;
mod nothing;
mod plain;
mod xielu;

pub use beside::BesideSpec;
pub use gated::{GateUp, GatedSpec};
pub use moe::{MoeSpec, SharedExpert, SharedGate};
pub use nothing::NoFfn;
pub use plain::PlainSpec;
pub use xielu::XieluSpec;

pub use kind::{Feed, FfnSpec};

macro_rules! kinds {
    ($($name:ident($spec:ty)),+ $(,)?) => {
        /// The feed-forward part, which works on each position separately.
        #[derive(Clone, Debug, PartialEq)]
        // One per layer: their size is nothing beside the weights.
        #[allow(missing_docs, clippy::large_enum_variant)]
        pub enum Ffn { $($name($spec)),+ }

        impl Ffn {
            /// Its specification.
            pub fn spec(&self) -> &dyn FfnSpec {
                match self { $(Ffn::$name(spec) => spec),+ }
            }
        }

        $(impl From<$spec> for Ffn {
            fn from(spec: $spec) -> Ffn { Ffn::$name(spec) }
        })+
    };
}

kinds! {
    Gated(GatedSpec),
    Plain(PlainSpec),
    Moe(MoeSpec),
    Nothing(NoFfn),
    Beside(BesideSpec),
    Xielu(XieluSpec),
}
