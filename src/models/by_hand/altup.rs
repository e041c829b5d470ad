//! Several residual streams, of which each layer computes one (AltUp, Baykal et al. 2023, arXiv:2301.13310).

use serde::Deserialize;

use crate::array::{Array, Dtype, stack};
use crate::error::{Error, Result};
use crate::models::config::{invalid, size};
use crate::nn::{Linear, Norm, NormSpec};
use crate::weights::Weights;

#[derive(Deserialize)]
pub struct AltUpSpec {
    pub altup_num_inputs: i32,
    pub altup_active_idx: i32,
    altup_coef_clip: Option<f32>,
    altup_correct_scale: bool,
}

impl AltUpSpec {
    pub fn validate(&self) -> Result<()> {
        size("altup_num_inputs", self.altup_num_inputs, 16)?;
        match (0..self.altup_num_inputs).contains(&self.altup_active_idx) {
            true => Ok(()),
            false => Err(invalid(format!("altup_active_idx is {}", self.altup_active_idx))),
        }
    }

    /// Numbers in the weights of a layer.
    pub fn parameters(&self, hidden: u64) -> u64 {
        let streams = self.altup_num_inputs as u64;
        streams * streams + streams.pow(3) + streams * hidden + 2 * hidden
    }
}

/// Predicts all streams before a layer from all of them, and corrects them by what the layer made of one.
pub struct AltUp {
    /// The stream that layers compute.
    pub active: usize,
    norm: Norm,
    router: Linear,
    /// f32 `[streams, streams^2]` and `[streams, streams]`: from the router's features, transposed.
    predict: Array,
    correct: Array,
    /// Scale of the corrected stream where it is read once more.
    pub output_scale: Option<Array>,
    hidden: i32,
}

impl AltUp {
    pub fn load(path: &str, own: &AltUpSpec, hidden: i32, norm: NormSpec, w: &Weights) -> Result<AltUp> {
        let count = own.altup_num_inputs;
        let coefficients = |name: &str, rows: i32| {
            w.derived(&format!("{path}.{name}.weight"), &[rows, count], |weight| {
                let weight = weight.astype(Dtype::F32)?.transpose()?;
                match own.altup_coef_clip {
                    Some(limit) => weight.clip(-limit, limit),
                    None => Ok(weight),
                }
            })
        };
        let scale = w.tensor(&format!("{path}.correct_output_scale"), &[hidden])?;
        Ok(AltUp {
            active: own.altup_active_idx as usize,
            norm: Norm::load(w, &format!("{path}.router_norm"), hidden, norm)?,
            router: Linear::load(w, &format!("{path}.modality_router"), hidden, count, false)?,
            predict: coefficients("prediction_coefs", count * count)?,
            correct: coefficients("correction_coefs", count)?,
            output_scale: own.altup_correct_scale.then_some(scale),
            hidden,
        })
    }

    /// f32 `[rows, length, streams]`
    fn features(&self, x: &Array) -> Result<Array> {
        let x = (self.norm.forward(x)? * (1.0 / self.hidden as f32))?;
        self.router.forward(&x)?.astype(Dtype::F32)?.tanh()
    }

    pub fn predict(&self, streams: &[Array]) -> Result<Vec<Array>> {
        let count = streams.len() as i32;
        let features = self.features(&streams[self.active])?;
        let &[rows, length, _] = features.shape() else { return Err(Error::internal("streams")) };
        // The row of a stream says how much of each it takes.
        let mix = features.matmul(&self.predict)?.reshape(&[rows, length, count, count])?;
        let all = stack(streams, 2)?.astype(Dtype::F32)?;
        let predicted = (mix.matmul(&all)? + all)?.astype(streams[0].dtype())?;
        predicted.split(count, 2)?.into_iter().map(|one| one.squeeze_axis(2)).collect()
    }

    pub fn correct(&self, predictions: &[Array], activated: &Array) -> Result<Vec<Array>> {
        let amounts = (self.features(activated)?.matmul(&self.correct)? + 1.0)?;
        let innovation = (activated - &predictions[self.active])?;
        let each = predictions.iter().zip(0..).map(|(prediction, i)| {
            let corrected = (&innovation * amounts.slice_axis(-1, i, i + 1)?)? + prediction;
            corrected?.astype(activated.dtype())
        });
        each.collect()
    }
}
