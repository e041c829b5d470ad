//! Products and their epilogues.

use half::bf16;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::stored::{Stored, every_storage};
use super::{ACTS, EMULATED, KINDS, Numbers, check};
use crate::{Act, Epilogue, Kind, Level, Part, gather_rows, product};

#[test]
fn products() {
    let mut rng = SmallRng::seed_from_u64(1);
    for (rows, columns) in [(5, 32), (67, 96), (70, 640), (130, 1152)] {
        for (name, stored) in every_storage(&mut rng, rows, columns) {
            for m in [1, 2, 3, 4, 7, 16, 19] {
                for kind in KINDS {
                    let x = Numbers::random(&mut rng, kind, m * columns, 0.5);
                    let (want, scale) = stored.product(&x.exact());
                    for level in Level::available() {
                        let mut out = Numbers::zeros(kind, m * rows);
                        let part = Part { weight: stored.matrix(), bias: None };
                        product(level, x.floats(), m, &[part], Epilogue::Store, vec![out.floats_mut()]);
                        let what = format!("{name}, {rows} x {columns}, {m} rows of {kind:?}, {}", level.name());
                        check(&out, &want, scale, &what);
                    }
                }
            }
        }
    }
}

/// Sequences that are decoded together get the very numbers that they get alone.
#[test]
fn few_rows_are_each_as_if_alone() {
    let mut rng = SmallRng::seed_from_u64(7);
    for (rows, columns, step) in [(67, 96, 1), (70, 640, 2), (300, 1152, 7)] {
        // In an emulator not every kind.
        let step = if EMULATED { step } else { 1 };
        for (name, stored) in every_storage(&mut rng, rows, columns).into_iter().step_by(step) {
            for kind in KINDS {
                let all = Numbers::random(&mut rng, kind, 16 * columns, 0.5);
                for level in Level::available() {
                    let compute = |from: usize, m: usize| {
                        let mut out = Numbers::zeros(kind, m * rows);
                        let part = Part { weight: stored.matrix(), bias: None };
                        let x = all.floats().slice(from * columns, m * columns);
                        product(level, x, m, &[part, part], Epilogue::Gate(Act::Silu), vec![out.floats_mut()]);
                        out.exact()
                    };
                    let alone: Vec<f64> = (0..16).flat_map(|i| compute(i, 1)).collect();
                    for m in (2..=16).step_by(if EMULATED { 3 } else { 1 }) {
                        let what = || format!("{name}, {rows} x {columns}, {m} rows of {kind:?}, {}", level.name());
                        assert!(compute(0, m) == alone[..m * rows], "{}", what());
                    }
                }
            }
        }
    }
}

/// Odd widths exist only in dense matrices.
#[test]
fn odd_widths() {
    let mut rng = SmallRng::seed_from_u64(2);
    for columns in [1, 7, 33, 99] {
        for kind in KINDS {
            let stored = Stored::dense(&mut rng, 37, columns, kind);
            for m in [1, 4, 9, 17] {
                let x = Numbers::random(&mut rng, kind, m * columns, 0.5);
                let (want, scale) = stored.product(&x.exact());
                for level in Level::available() {
                    let mut out = Numbers::zeros(kind, m * 37);
                    let part = Part { weight: stored.matrix(), bias: None };
                    product(level, x.floats(), m, &[part], Epilogue::Store, vec![out.floats_mut()]);
                    check(&out, &want, scale, &format!("{columns} columns, {m} rows of {kind:?}, {}", level.name()));
                }
            }
        }
    }
}

#[test]
fn several_parts_biases_and_epilogues() {
    let mut rng = SmallRng::seed_from_u64(3);
    let (k, rows) = (256, 300);
    let first = Stored::affine(&mut rng, rows, k, 4, 64, Kind::Bf16);
    let second = Stored::affine(&mut rng, rows, k, 6, 32, Kind::Bf16);
    let third = Stored::dense(&mut rng, 40, k, Kind::F32);
    for kind in KINDS {
        for m in [1, 3, 11, 18] {
            let x = Numbers::random(&mut rng, kind, m * k, 0.2);
            let bias = Numbers::random(&mut rng, kind, rows, 1.0);
            let residual = Numbers::random(&mut rng, kind, m * rows, 1.0);
            let (mut a, scale) = first.product(&x.exact());
            let (b, _) = second.product(&x.exact());
            let (c, _) = third.product(&x.exact());
            for (i, v) in a.iter_mut().enumerate() {
                *v += bias.exact()[i % rows];
            }
            let part = Part { weight: first.matrix(), bias: Some(bias.floats()) };
            let others = [Part { weight: second.matrix(), bias: None }, Part { weight: third.matrix(), bias: None }];
            for level in Level::available() {
                let what = |text: &str| format!("{text}, {m} rows of {kind:?}, {}", level.name());
                let (mut oa, mut ob) = (Numbers::zeros(kind, m * rows), Numbers::zeros(kind, m * rows));
                let mut oc = Numbers::zeros(kind, m * 40);
                let out = vec![oa.floats_mut(), ob.floats_mut(), oc.floats_mut()];
                product(level, x.floats(), m, &[part, others[0], others[1]], Epilogue::Store, out);
                check(&oa, &a, scale, &what("first part"));
                check(&ob, &b, scale, &what("second part"));
                check(&oc, &c, scale, &what("third part"));

                let add = Epilogue::Add(residual.floats(), 0.5);
                product(level, x.floats(), m, &[part], add, vec![oa.floats_mut()]);
                let want: Vec<f64> = a.iter().zip(residual.exact()).map(|(a, r)| a * 0.5 + r).collect();
                check(&oa, &want, scale, &what("residual"));

                for (act, f) in ACTS {
                    product(level, x.floats(), m, &[part], Epilogue::Activate(act), vec![oa.floats_mut()]);
                    let want: Vec<f64> = a.iter().map(|a| f(*a)).collect();
                    check(&oa, &want, scale, &what("activation"));
                    let gate = Epilogue::Gate(act);
                    product(level, x.floats(), m, &[part, others[0]], gate, vec![oa.floats_mut()]);
                    let want: Vec<f64> = a.iter().zip(&b).map(|(a, b)| f(*a) * b).collect();
                    let scale = scale * b.iter().chain(&a).fold(1.0, |s: f64, v| s.max(v.abs()));
                    check(&oa, &want, scale, &what("gate"));
                }
            }
        }
    }
}

/// The claim of `bench.md`: products of 4-bit weights with bf16 inputs lose little beyond the rounding of the result.
#[test]
fn bf16_products_are_as_exact_as_bf16() {
    let mut rng = SmallRng::seed_from_u64(4);
    let (rows, k) = (256, 3072);
    let stored = Stored::affine(&mut rng, rows, k, 4, 64, Kind::Bf16);
    for m in [1, 17] {
        let x = Numbers::random(&mut rng, Kind::Bf16, m * k, 1.0);
        let (want, _) = stored.product(&x.exact());
        let rms = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, n) = values.fold((0.0, 0), |(s, n), v| (s + v * v, n + 1));
            (sum / f64::from(n)).sqrt()
        };
        let unavoidable = rms(&mut want.iter().map(|w| f64::from(bf16::from_f64(*w)) - w));
        for level in Level::available() {
            let mut out = Numbers::zeros(Kind::Bf16, m * rows);
            let part = Part { weight: stored.matrix(), bias: None };
            product(level, x.floats(), m, &[part], Epilogue::Store, vec![out.floats_mut()]);
            let error = rms(&mut out.exact().iter().zip(&want).map(|(g, w)| g - w));
            assert!(error < 1.05 * unavoidable, "{m} rows, {}: {error} against {unavoidable}", level.name());
        }
    }
}

#[test]
fn embedding_rows() {
    let mut rng = SmallRng::seed_from_u64(5);
    for (name, stored) in every_storage(&mut rng, 20, 128) {
        for level in Level::available() {
            let mut out = Numbers::zeros(Kind::F32, 3 * 128);
            gather_rows(level, &stored.matrix(), &[19, 0, 7], out.floats_mut());
            let want: Vec<f64> =
                [19, 0, 7].iter().flat_map(|r| stored.exact[r * 128..(r + 1) * 128].to_vec()).collect();
            check(&out, &want, 1.0, &format!("{name}, {}", level.name()));
        }
    }
}
