//! Attention of a prompt's positions.
//!
//! MLX asks cuDNN for this, which makes a plan for every length of prompt and of context, in 50 ms or more each; this
//! kernel is the same for all of them.

use std::rc::Rc;

use super::common::{active, floats, literal};
use super::kernel::Kernel;
use super::kernels::Kernels;
use super::source::{Launch, Source};
use crate::array::fused::terms::attention::Scores;
use crate::array::fused::terms::mask::Mask;
use crate::array::{Array, Dtype};
use crate::error::Result;

/// Queries of a block.
const TILE: usize = 64;

/// The parameters of a kernel; scales in bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    dtype: Dtype,
    dim: i32,
    heads: i32,
    kv_heads: i32,
    causal: bool,
    scale: u32,
    /// Of nothing where there is no cap.
    cap: u32,
}

thread_local! {
    static KERNELS: Kernels<Key, Kernel> = Kernels::default();
}

/// Attention of several queries, `[batch, heads, length, features]`, over `[batch, kv heads, positions, features]`.
pub fn attend_prompt(q: &Array, k: &Array, v: &Array, scores: &Scores, mask: &Mask) -> Option<Result<Array>> {
    let Scores { scale, softcap, .. } = *scores;
    let (&[batch, heads, length, dim], &[_, kv_heads, total, _]) = (q.shape(), k.shape()) else { return None };
    let causal = matches!(mask, Mask::Causal);
    let fits = active()
        && scores.sinks.is_none()
        && length > 1
        && floats(q.dtype())
        && [k, v].iter().all(|x| x.dtype() == q.dtype() && x.shape() == [batch, kv_heads, total, dim])
        && matches!(dim, 64 | 80 | 96 | 112 | 128)
        && kv_heads > 0
        && heads % kv_heads == 0
        && (causal && total >= length || matches!(mask, Mask::None) && total > 0)
        && scale.is_finite()
        && softcap.is_none_or(|cap| cap.is_finite() && cap > 0.0)
        && heads <= 65535
        && batch <= 65535;
    if !fits {
        return None;
    }
    let cap = softcap.unwrap_or(0.0).to_bits();
    let key = Key { dtype: q.dtype(), dim, heads, kv_heads, causal, scale: scale.to_bits(), cap };
    let launch = Launch {
        outputs: &[(q.shape(), q.dtype())],
        scalars: &[length, total],
        blocks: [(length as usize).div_ceil(TILE), heads as usize, batch as usize],
        threads: 128,
    };
    let kernel = key.kernel()?;
    Some(kernel.run(&[q, k, v], &launch).map(|mut results| results.remove(0)))
}

impl Key {
    fn kernel(&self) -> Option<Rc<Kernel>> {
        KERNELS.with(|known| known.get(self, "prompts", || self.build(Kernel::new)))
    }

    fn build(&self, compile: impl FnOnce(&Source) -> Result<Kernel>) -> Result<Kernel> {
        let body = format!(
            "constexpr int DIM = {}, HEADS = {}, KV_HEADS = {};\nconstexpr bool CAUSAL = {};\nconstexpr float SCALE = {}, CAP = \
             {};\n{}",
            self.dim,
            self.heads,
            self.kv_heads,
            self.causal,
            literal(f32::from_bits(self.scale)),
            literal(f32::from_bits(self.cap)),
            include_str!("prompt_body.cu"),
        );
        compile(&Source {
            name: "mlxe_prompt",
            dtype: self.dtype,
            inputs: &["q", "k", "v"].map(|name| ("T", name.to_owned())),
            outputs: &[("T", "out".to_owned())],
            scalars: &["length".into(), "total".into()],
            header: include_str!("prompt.cu"),
            body: &body,
        })
    }
}

/// As in [`super`].
#[cfg(test)]
mod tests {
    use super::super::tests::{array, close, on_gpu, values};
    use super::*;

    #[test]
    fn all_kernels_compile() {
        if !Kernel::can_compile() {
            return;
        }
        let bits = |v: f32| v.to_bits();
        let key = Key { dtype: Dtype::Bf16, dim: 128, heads: 8, kv_heads: 2, causal: true, scale: bits(0.1), cap: 0 };
        let other = Key { dtype: Dtype::F16, dim: 80, causal: false, cap: bits(50.0), ..key };
        for architecture in ["sm_80", "sm_90"] {
            for key in [key, other] {
                key.build(|source| Kernel::compiled(source, architecture)).unwrap();
            }
        }
    }

    #[test]
    fn prompts_of_all_lengths() {
        if !on_gpu() {
            return;
        }
        for (dtype, dim, heads, kv_heads, batch, length, total, causal, cap) in [
            (Dtype::Bf16, 128, 4, 2, 1, 2, 2, true, None),
            (Dtype::Bf16, 128, 4, 1, 2, 65, 65, true, None),
            (Dtype::Bf16, 64, 6, 2, 1, 130, 391, true, None),
            (Dtype::F16, 80, 2, 2, 1, 64, 64, true, Some(5.0)),
            (Dtype::Bf16, 96, 2, 1, 2, 17, 100, false, None),
            (Dtype::F16, 112, 3, 3, 1, 200, 1000, true, None),
        ] {
            let what = format!("{length} of {total}, heads of {dim}, {dtype}");
            let q = array(&[batch, heads, length, dim], 1, dtype);
            let [k, v] = [2, 3].map(|seed| array(&[batch, kv_heads, total, dim], seed, dtype));
            let scale = 2.0 / (dim as f32).sqrt();
            let mask = if causal { Mask::Causal } else { Mask::None };
            let out =
                attend_prompt(&q, &k, &v, &Scores { softcap: cap, ..Scores::scaled(scale) }, &mask).unwrap().unwrap();
            let [qs, ks, vs] = [&q, &k, &v].map(values);
            let d = dim as usize;
            let row = |of: &[f64], i: i32| of[i as usize * d..][..d].to_vec();
            let mut want = Vec::new();
            for (b, h, i) in (0..batch).flat_map(|b| (0..heads).flat_map(move |h| (0..length).map(move |i| (b, h, i))))
            {
                let query = row(&qs, (b * heads + h) * length + i);
                let head = b * kv_heads + h / (heads / kv_heads);
                let seen = if causal { total - length + i + 1 } else { total };
                let score = |j: i32| {
                    let dot: f64 = query.iter().zip(row(&ks, head * total + j)).map(|(a, b)| a * b).sum();
                    let dot = dot * f64::from(scale);
                    cap.map_or(dot, |cap| (dot / f64::from(cap)).tanh() * f64::from(cap)).exp()
                };
                let weights: Vec<f64> = (0..seen).map(score).collect();
                let sum: f64 = weights.iter().sum();
                let mut mean = vec![0.0; d];
                for (j, weight) in weights.iter().enumerate() {
                    mean.iter_mut().zip(row(&vs, head * total + j as i32)).for_each(|(m, v)| *m += weight / sum * v);
                }
                want.extend(mean);
            }
            close(&out, &want, dtype, &what);
        }
    }
}
