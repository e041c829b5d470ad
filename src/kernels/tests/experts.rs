use half::{bf16, f16};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::stored::{Storage, Stored, every_storage};
use super::{ACTS, KINDS, Numbers, check};
use crate::{Experts, Kind, Level, Part, RouterSoftmax, Routing, mix};

/// Every row through every chosen expert, by the formulas.
#[test]
fn mixtures_of_experts() {
    let mut rng = SmallRng::seed_from_u64(10);
    let (features, inner) = (128, 128);
    let storages = every_storage(&mut rng, 8, 128);
    for (i, (count, chosen)) in [(1, 1), (5, 2), (24, 8)].into_iter().enumerate() {
        for (name, stored) in storages.iter().skip(i).step_by(2) {
            let group = match stored.kind {
                Storage::Affine { group, .. } => group,
                _ => 32,
            };
            let like = |rng: &mut SmallRng, rows, columns| match &stored.kind {
                Storage::Dense(values) => Stored::dense(rng, rows, columns, values.floats().kind()),
                Storage::Affine { bits, scales, .. } => {
                    Stored::affine(rng, rows, columns, *bits, group, scales.floats().kind())
                }
                Storage::Float { format, .. } => Stored::float(rng, rows, columns, *format),
            };
            let gate = like(&mut rng, count * inner, features);
            let up = like(&mut rng, count * inner, features);
            let down = like(&mut rng, count * features, inner);
            mixture(&mut rng, name, count, chosen, &gate, &up, &down);
        }
    }
}

fn mixture(rng: &mut SmallRng, name: &str, count: usize, chosen: usize, gate: &Stored, up: &Stored, down: &Stored) {
    let (features, inner) = (gate.columns, down.columns);
    // The largest of groups of rows are computed as matrices, the others as dot products.
    let largest = down.exact.iter().fold(0f64, |m, v| m.max(v.abs()));
    for m in [1, 3, 40] {
        for kind in KINDS {
            let softmax = if m == 3 { RouterSoftmax::All } else { RouterSoftmax::Chosen };
            let (act, f) = ACTS[m % 4];
            let x = Numbers::random(rng, kind, m * features, 0.1);
            let logits = Numbers::random(rng, kind, m * count, 2.0);
            let bias = Numbers::random(rng, Kind::F32, count * inner, 0.1);
            let residual = Numbers::random(rng, kind, m * features, 1.0);
            let (biases, mut want, mut scale) = (bias.exact(), residual.exact(), 1f64);
            for (row, (x, logits)) in
                x.exact().chunks_exact(features).zip(logits.exact().chunks_exact(count)).enumerate()
            {
                let mut order: Vec<usize> = (0..count).collect();
                order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
                let among = if softmax == RouterSoftmax::All { count } else { chosen };
                let sum: f64 = order[..among].iter().map(|&e| logits[e].exp()).sum();
                let y = &mut want[row * features..][..features];
                for &e in &order[..chosen] {
                    let dot = |w: &Stored, row: usize, x: &[f64]| -> f64 {
                        w.exact[row * x.len()..][..x.len()].iter().zip(x).map(|(w, x)| w * x).sum()
                    };
                    let hidden: Vec<f64> = (0..inner)
                        .map(|i| {
                            let i = e * inner + i;
                            let h = f(dot(gate, i, x) + biases[i]) * dot(up, i, x);
                            // As the kernel keeps it.
                            match kind {
                                Kind::F32 => h,
                                Kind::F16 => f64::from(f16::from_f64(h)),
                                Kind::Bf16 => f64::from(bf16::from_f64(h)),
                            }
                        })
                        .collect();
                    for (i, y) in y.iter_mut().enumerate() {
                        *y += 0.5 * logits[e].exp() / sum * dot(down, e * features + i, &hidden);
                    }
                    scale = scale.max(hidden.iter().map(|h| h.abs()).sum::<f64>() * largest);
                }
            }
            // A rounding to the other side in between is larger than what sums lose.
            let scale = scale * if kind == Kind::F32 { 4.0 } else { 40.0 };
            for level in Level::available() {
                let mut out = Numbers::zeros(kind, m * features);
                let experts = Experts {
                    count,
                    gate: Part { weight: gate.matrix(), bias: Some(bias.floats()) },
                    up: Part { weight: up.matrix(), bias: None },
                    down: Part { weight: down.matrix(), bias: None },
                    act,
                };
                let routing = Routing { logits: logits.floats(), chosen, softmax };
                let onto = Some((residual.floats(), 0.5));
                mix(level, x.floats(), m, &experts, &routing, onto, out.floats_mut());
                let what = format!("{name}, {chosen} of {count}, {m} rows of {kind:?}, {}", level.name());
                check(&out, &want, scale, &what);
            }
        }
    }
}
