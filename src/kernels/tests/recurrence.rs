use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{ACTS, KINDS, Numbers, check};
use crate::{Convolution, Floats, Kind, Level, Operand, Recurrence, convolve, recur};

fn numbers(of: &Numbers) -> &[f32] {
    match of.floats() {
        Floats::F32(numbers) => numbers,
        _ => unreachable!("in f32"),
    }
}

#[test]
fn convolutions() {
    let mut rng = SmallRng::seed_from_u64(7);
    for kind in KINDS {
        for (rows, length, channels, taps, act) in
            [(1, 1, 5, 2, None), (2, 9, 40, 4, Some(ACTS[0])), (1, 3, 6000, 3, None)]
        {
            let x = Numbers::random(&mut rng, kind, rows * length * channels, 1.0);
            let of = |rng: &mut SmallRng, n: usize| Numbers::random(rng, Kind::F32, n, 0.5);
            let past = of(&mut rng, rows * (taps - 1) * channels);
            let (weight, bias) = (of(&mut rng, taps * channels), of(&mut rng, channels));
            let (exact_x, exact_past) = (x.exact(), past.exact());
            let value = |row: usize, at: usize, channel: usize| match at.checked_sub(taps - 1) {
                None => exact_past[(row * (taps - 1) + at) * channels + channel],
                Some(at) => exact_x[(row * length + at) * channels + channel],
            };
            let (mut want, mut want_next) = (Vec::new(), Vec::new());
            for row in 0..rows {
                for at in 0..length {
                    for c in 0..channels {
                        let products =
                            (0..taps).map(|tap| value(row, at + tap, c) * weight.exact_at(tap * channels + c));
                        let sum = products.sum::<f64>() + bias.exact_at(c);
                        want.push(act.map_or(sum, |(_, formula)| formula(sum)));
                    }
                }
                let last = (0..taps - 1).flat_map(|at| (0..channels).map(move |c| (at, c)));
                want_next.extend(last.map(|(at, c)| value(row, length + at, c)));
            }
            for level in Level::available() {
                let mut out = Numbers::zeros(Kind::F32, want.len());
                let mut next = Numbers::zeros(Kind::F32, want_next.len());
                let (weight, bias) = (numbers(&weight), Some(numbers(&bias)));
                let op = Convolution { length, channels, weight, bias, act: act.map(|(act, _)| act) };
                convolve(level, &op, x.floats(), numbers(&past), out.floats_mut(), next.floats_mut());
                let what = format!("convolution of {length} {kind:?}, {}", level.name());
                check(&out, &want, 4.0, &what);
                check(&next, &want_next, 0.0, &what);
            }
        }
    }
}

#[test]
fn recurrences() {
    let mut rng = SmallRng::seed_from_u64(8);
    for (rows, length, heads, keys, values, own, decays, corrected) in [
        (1, 1, 1, 1, 1, 1, 1, false),
        (2, 5, 4, 20, 3, 2, 1, true),
        (1, 4, 3, 16, 70, 3, 16, true),
        (2, 3, 40, 8, 1, 1, 8, false),
    ] {
        let mut operand = |heads: usize, width: usize| {
            (Numbers::random(&mut rng, Kind::F32, rows * length * heads * width, 0.4), heads, width)
        };
        let (decay, a, b) = (operand(heads, decays), operand(own, keys), operand(heads, keys));
        let (key, value, query) = (operand(own, keys), operand(heads, values), operand(own, keys));
        let state = Numbers::random(&mut rng, Kind::F32, rows * heads * values * keys, 0.5);
        let at = |of: &(Numbers, usize, usize), position: usize, head: usize, i: usize| {
            of.0.exact_at((position * of.1 + head * of.1 / heads) * of.2 + if of.2 == 1 { 0 } else { i })
        };
        let mut after = state.exact();
        let mut want = vec![0.0; rows * length * heads * values];
        for position in 0..rows * length {
            for head in 0..heads {
                for v in 0..values {
                    let place = ((position / length * heads + head) * values + v) * keys;
                    let row = &mut after[place..place + keys];
                    let read: f64 = (0..keys).map(|k| row[k] * at(&a, position, head, k)).sum();
                    for (k, s) in row.iter_mut().enumerate() {
                        let correction = if corrected { read * at(&b, position, head, k) } else { 0.0 };
                        let new = at(&value, position, head, v) * at(&key, position, head, k);
                        *s = *s * at(&decay, position, head, k) + correction + new;
                    }
                    let y = (0..keys).map(|k| row[k] * at(&query, position, head, k)).sum::<f64>();
                    want[(position * heads + head) * values + v] = y;
                }
            }
        }
        for level in Level::available() {
            let mut out = Numbers::zeros(Kind::F32, want.len());
            let mut next = Numbers::zeros(Kind::F32, after.len());
            let op = Recurrence {
                length,
                heads,
                keys,
                values,
                decay: view(&decay),
                correction: corrected.then(|| [view(&a), view(&b)]),
                key: view(&key),
                value: view(&value),
                query: view(&query),
            };
            recur(level, &op, numbers(&state), out.floats_mut(), next.floats_mut());
            let what = format!("recurrence of {heads} heads {values}x{keys}, {}", level.name());
            check(&out, &want, 20.0, &what);
            check(&next, &after, 20.0, &what);
        }
    }
}

fn view((numbers_, heads, width): &(Numbers, usize, usize)) -> Operand<'_> {
    Operand { numbers: numbers(numbers_), heads: *heads, width: *width }
}
