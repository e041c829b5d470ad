//! `down(xielu(up(x)))`, an activation with parameters of its own (Huang and Schlag 2024, arXiv:2411.13010).

use super::kind::{Feed, FfnShape, FfnSpec};
use crate::array::{Array, Dtype};
use crate::error::Result;
use crate::models::config::size;
use crate::models::decoder::pass::Residual;
use crate::models::shape::OnDevice;
use crate::nn::{Input, Linear};
use crate::weights::Weights;

/// Two projections with xIELU between them, under Llama's names.
#[derive(Clone, Debug, PartialEq)]
pub struct XieluSpec {
    /// Intermediate size.
    pub size: i32,
    /// Whether both have biases.
    pub bias: bool,
}

impl FfnSpec for XieluSpec {
    fn validate(&self) -> Result<()> {
        size("intermediate_size", self.size, 1 << 24)
    }

    fn load(&self, hidden: i32, path: &str, w: &Weights) -> Result<Box<dyn Feed>> {
        let linear = |name: &str, inputs: i32, outputs: i32| {
            Linear::load(w, &format!("{path}.mlp.{name}"), inputs, outputs, self.bias)
        };
        // As published of one element, as converted without an axis.
        let number = |name: &str| {
            let name = format!("{path}.mlp.act_fn.{name}");
            let shape: &[i32] = if w.shape(&name).is_some_and(|shape| shape == [1]) { &[1] } else { &[] };
            w.tensor(&name, shape)
        };
        let constant = |name: &str, usual: f32| match w.has(&format!("{path}.mlp.act_fn.{name}")) {
            true => number(name),
            false => Array::scalar(usual, Dtype::F32),
        };
        Ok(Box::new(Xielu {
            up: linear("up_proj", hidden, self.size)?,
            down: linear("down_proj", self.size, hidden)?,
            alpha_p: number("alpha_p")?,
            alpha_n: number("alpha_n")?,
            beta: constant("beta", 0.5)?,
            eps: constant("eps", -1e-6)?,
        }))
    }

    fn shape(&self, hidden: u64) -> FfnShape {
        let size = self.size as u64;
        let bias = if self.bias { size + hidden } else { 0 };
        FfnShape { parameters: 2 * size * hidden + bias + 4, inner: OnDevice::same(2 * size) }
    }
}

struct Xielu {
    up: Linear,
    down: Linear,
    alpha_p: Array,
    alpha_n: Array,
    beta: Array,
    eps: Array,
}

impl Feed for Xielu {
    fn forward(&self, x: Input, onto: Option<Residual>) -> Result<Array> {
        let x = self.up.forward(&x.array()?)?;
        let [alpha_p, alpha_n, beta, eps] =
            [&self.alpha_p, &self.alpha_n, &self.beta, &self.eps].map(|number| number.astype(x.dtype()));
        let (beta, eps) = (beta?, eps?);
        let softplus = |a: &Array| (a.exp()? + 1.0)?.log();
        let (above, below) = (softplus(&alpha_p?)?, (&beta + softplus(&alpha_n?)?)?);
        let linear = (&x * &beta)?;
        let positive = ((x.square()? * above)? + &linear)?;
        let negative = (((x.minimum(&eps)?.expm1()? - &x)? * below)? + linear)?;
        let y = positive.where_(&x.greater(&Array::scalar(0.0, x.dtype())?)?, &negative)?;
        Residual::add(onto, &self.down, &y)
    }
}
