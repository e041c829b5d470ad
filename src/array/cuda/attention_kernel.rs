//! The kernel for attention of one new position per sequence.

use std::rc::Rc;

use super::common::literal;
use super::kernel::Kernel;
use super::kernels::Kernels;
use super::source::Source;
use crate::array::fused::terms::attention::Attention;
use crate::array::{Array, Dtype};
use crate::error::Result;

/// What attention needs in addition to its inputs, made once per layer.
pub struct Prepared {
    pub dtype: Dtype,
    pub kernel: Rc<Kernel>,
    pub frequencies: Array,
}

thread_local! {
    static KERNELS: Kernels<(Dtype, String), Kernel> = Kernels::default();
}

impl Prepared {
    /// `None` where there is no kernel for this.
    pub fn new(op: &Attention, dtype: Dtype) -> Option<Prepared> {
        let frequencies = match &op.rotation {
            Some(rotation) => rotation.frequencies()?,
            None => vec![0.0],
        };
        let key = (dtype, body(op));
        let kernel = KERNELS.with(|known| known.get(&key, "attention", || kernel(dtype, &key.1, Kernel::new)))?;
        let frequencies = Array::from_slice(&frequencies, &[frequencies.len() as i32]).ok()?;
        Some(Prepared { dtype, kernel, frequencies })
    }
}

/// The kernel's source, with its parameters.
pub fn body(op: &Attention) -> String {
    let rotation = op.rotation.as_ref();
    let eps = op.norms.rms().ok().flatten().map(|(eps, ..)| eps);
    format!(
        "constexpr int DIM = {}, HEADS = {}, KV_HEADS = {}, ROTATED = {};\nconstexpr bool NORM = {}, INTERLEAVED = \
         {};\nconstexpr float EPS = {}, MAGNITUDE = {}, SCALE = {}, CAP = {};\n{}",
        op.key_dim,
        op.heads,
        op.kv_heads,
        rotation.map_or(0, |r| r.dims),
        eps.is_some(),
        rotation.is_some_and(|r| r.interleaved),
        literal(eps.unwrap_or(0.0)),
        literal(rotation.and_then(|r| r.magnitude).unwrap_or(1.0)),
        literal(op.scores.scale),
        literal(op.scores.softcap.unwrap_or(0.0)),
        include_str!("attention_body.cu")
    )
}

pub fn kernel(dtype: Dtype, body: &str, compile: impl FnOnce(&Source) -> Result<Kernel>) -> Result<Kernel> {
    let named = |t: &'static str, list: &str| list.split(' ').map(|name| (t, name.to_owned())).collect::<Vec<_>>();
    let inputs = [
        named("T", "q k v keys values"),
        named("int", "places"),
        named("unsigned", "counts before"),
        named("float", "frequencies"),
        named("T", "q_norm k_norm"),
    ];
    let outputs = [named("T", "out"), named("unsigned", "written"), named("float", "partial")];
    compile(&Source {
        name: "mlxe_attention",
        dtype,
        inputs: &inputs.concat(),
        outputs: &outputs.concat(),
        scalars: &["capacity".into()],
        header: include_str!("attention.cu"),
        body,
    })
}
