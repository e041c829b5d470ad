//! Linear layers.

use super::norm::norm;
use super::terms::linear::{Epilogue, Linear};
use super::terms::weight::{Part, Weight};
use crate::array::{Array, cpu, cuda};
use crate::error::{Error, Result};

/// One result per part, or one of all if the epilogue combines them.
///
/// What no back end does as a whole is split: first the norm, then the epilogue, then the parts.
#[track_caller]
pub fn linear(op: &Linear<'_>) -> Result<Vec<Array>> {
    if let Some(results) = cuda::linear(op).or_else(|| cpu::linear(op)) {
        return results;
    }
    if let Some(before) = op.norm {
        return linear(&Linear { x: &norm(op.x, before)?, norm: None, ..*op });
    }
    let products = || linear(&Linear { epilogue: Epilogue::Store, ..*op });
    match op.epilogue {
        Epilogue::Store => match op.parts {
            [part] => Ok(vec![product(op.x, part)?]),
            parts => {
                let each = parts.iter().map(|part| linear(&Linear { parts: std::slice::from_ref(part), ..*op }));
                each.map(|results| results.and_then(only)).collect()
            }
        },
        Epilogue::Activate(act) => products()?.iter().map(|y| act.apply(y)).collect(),
        Epilogue::Add { residual, scale } => {
            let y = only(products()?)?;
            Ok(vec![match scale {
                Some(scale) => (residual + (y * scale))?,
                None => (residual + y)?,
            }])
        }
        Epilogue::Gate(act) => {
            let [gate, up] = products()?.try_into().map_err(|_| Error::internal("a gate takes two products"))?;
            Ok(vec![act.gate(&gate, &up)?])
        }
    }
}

fn product(x: &Array, part: &Part<'_>) -> Result<Array> {
    let y = match (part.weight, part.transposed) {
        (_, Some(transposed)) => x.matmul(transposed)?,
        (Weight::Dense(weight), None) => x.matmul(&weight.transpose()?)?,
        (Weight::Quantized(weight), None) => weight.matmul_transposed(x)?,
    };
    match part.bias {
        Some(bias) => y + bias,
        None => Ok(y),
    }
}

fn only(results: Vec<Array>) -> Result<Array> {
    results.into_iter().next().ok_or_else(|| Error::internal("a product without a result"))
}
