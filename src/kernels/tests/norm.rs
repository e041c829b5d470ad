use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{KINDS, Numbers, check};
use crate::{Level, NormParams, normalize};

#[test]
fn norms() {
    let mut rng = SmallRng::seed_from_u64(6);
    for kind in KINDS {
        for size in [1, 20, 64, 1000] {
            let x = Numbers::random(&mut rng, kind, 5 * size, 3.0);
            let (weight, bias) =
                (Numbers::random(&mut rng, kind, size, 1.0), Numbers::random(&mut rng, kind, size, 1.0));
            for center in [false, true] {
                let mut want = Vec::new();
                for row in x.exact().chunks_exact(size) {
                    let n = size as f64;
                    let mean = if center { row.iter().sum::<f64>() / n } else { 0.0 };
                    let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
                    let factor = 1.0 / (variance + 1e-5).sqrt();
                    want.extend(
                        row.iter().zip(weight.exact()).zip(bias.exact()).map(|((v, w), b)| (v - mean) * factor * w + b),
                    );
                }
                for level in Level::available() {
                    let mut out = Numbers::zeros(kind, 5 * size);
                    let params =
                        NormParams { center, eps: 1e-5, weight: Some(weight.floats()), bias: Some(bias.floats()) };
                    normalize(level, x.floats(), size, &params, out.floats_mut());
                    check(&out, &want, 4.0, &format!("norm of {size} {kind:?}, {}", level.name()));
                }
            }
        }
    }
}
