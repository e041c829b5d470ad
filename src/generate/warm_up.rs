//! The warm-up before the first answer.

use super::sampling::{Draw, choose};
use crate::array::{self, Array, Device, fused, memory};
use crate::cache::CacheOptions;
use crate::error::Result;
use crate::models::{Inputs, LanguageModel};

/// Runs a step with arbitrary tokens: on a GPU this compiles kernels and initialises libraries, so that the first
/// answer takes no longer than later ones. A CPU needs no warm-up, so there the graph of a step is only built, which
/// still finds what cannot run.
pub fn warm_up(model: &dyn LanguageModel) -> Result<()> {
    let mut cache = model.new_cache(&CacheOptions::default())?;
    let on_gpu = array::device() == Device::Gpu;
    if on_gpu {
        let step = model.prefill_step(Device::Gpu);
        let prompt = model.context_length().map_or(step, |n| n.clamp(2, step + 1) - 1);
        let tokens = Array::from_slice(&vec![0u32; prompt as usize], &[1, prompt])?;
        model.forward(&Inputs::tokens(tokens), &mut cache)?;
        array::eval(cache.arrays())?;
    }
    let token = Array::from_slice(&[0u32], &[1, 1])?;
    let logits = model.logits(&model.forward(&Inputs::tokens(token), &mut cache)?.hidden)?.squeeze_axis(1)?;
    let likeliest = fused::argmax(&logits)?;
    if on_gpu {
        array::eval([&likeliest, &choose(&logits, &[Draw::with_everything()])?])?;
        drop(cache);
        memory::clear_cache();
    }
    Ok(())
}
