//! Convolutions and linear recurrences over positions.

use super::terms::recurrence::{Convolution, Recurrence};
use crate::array::{Array, Dtype, concatenate, cpu, stack};
use crate::error::Result;

/// Filters `x`, `[rows, length, channels]`, after the `taps - 1` positions of `past`; the result and the past of what
/// follows, both in f32.
#[track_caller]
pub fn convolve(op: &Convolution, x: &Array, past: &Array) -> Result<(Array, Array)> {
    cpu::convolve(op, x, past).unwrap_or_else(|| convolve_by_operations(op, x, past))
}

fn convolve_by_operations(op: &Convolution, x: &Array, past: &Array) -> Result<(Array, Array)> {
    let length = x.dim(1);
    let all = concatenate([past, &x.astype(Dtype::F32)?], 1)?;
    let tap = |i: i32| all.slice_axis(1, i, i + length)? * op.weight.slice_axis(0, i, i + 1);
    let mut sum = tap(0)?;
    for i in 1..op.weight.dim(0) {
        sum = (sum + tap(i)?)?;
    }
    if let Some(bias) = &op.bias {
        sum = (sum + bias)?;
    }
    if let Some(activation) = op.activation {
        sum = activation.apply(&sum)?;
    }
    Ok((sum, all.slice_axis(1, length, all.dim(1))?.contiguous()?))
}

/// The results, `[rows, length, heads, values]`, and the state after the last position. `state` is
/// `[rows, heads, values, keys]`.
#[track_caller]
pub fn recur(op: &Recurrence<'_>, state: &Array) -> Result<(Array, Array)> {
    cpu::recur(op, state).unwrap_or_else(|| recur_by_operations(op, state))
}

fn recur_by_operations(op: &Recurrence<'_>, state: &Array) -> Result<(Array, Array)> {
    let heads = state.dim(1);
    let spread = |a: &Array| match heads / a.dim(2).max(1) {
        1 => Ok(a.clone()),
        times => a.repeat(times, 2),
    };
    let (decay, value) = (spread(op.decay)?, spread(op.value)?);
    let (key, query) = (spread(op.key)?, spread(op.query)?);
    let correction = match op.correction {
        Some([a, b]) => Some((spread(a)?, spread(b)?)),
        None => None,
    };
    // Of one position: as rows, `[rows, heads, 1, width]`, or as columns.
    let row = |a: &Array, t: i32| a.slice_axis(1, t, t + 1)?.swap_axes(1, 2);
    let column = |a: &Array, t: i32| row(a, t)?.swap_axes(2, 3);
    let mut state = state.clone();
    let mut results = Vec::with_capacity(value.dim(1) as usize);
    for t in 0..value.dim(1) {
        let mut next = (&state * row(&decay, t)?)?;
        if let Some((a, b)) = &correction {
            next = (next + state.matmul(&column(a, t)?)? * row(b, t)?)?;
        }
        state = (next + column(&value, t)? * row(&key, t)?)?;
        results.push(state.matmul(&column(&query, t)?)?.squeeze_axis(3)?);
    }
    Ok((stack(&results, 1)?, state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array::fused::Activation;
    use crate::array::{Device, random, set_device};

    fn numbers(shape: &[i32], seed: u64) -> Array {
        random::normal(shape, 0.5, Dtype::F32, &random::key(seed).unwrap()).unwrap()
    }

    fn values(a: &Array) -> Vec<f32> {
        a.contiguous().unwrap().to_vec().unwrap()
    }

    fn close(got: &Array, want: &Array, what: &str) {
        assert_eq!(got.shape(), want.shape(), "{what}");
        for (g, w) in values(got).iter().zip(values(want)) {
            assert!((g - w).abs() < 1e-4 * w.abs().max(1.0), "{what}: {g}, not {w}");
        }
    }

    fn part(a: &Array, from: i32, to: i32) -> Array {
        a.slice_axis(1, from, to).unwrap()
    }

    /// All at once, position by position, and a sequence alone.
    #[test]
    fn convolutions_continue() {
        set_device(Device::Cpu).unwrap();
        for (taps, biased, activation) in [(2, false, None), (4, true, Some(Activation::Silu))] {
            let op = Convolution { weight: numbers(&[taps, 5], 1), bias: biased.then(|| numbers(&[5], 2)), activation };
            let (x, past) = (numbers(&[2, 7, 5], 3), numbers(&[2, taps - 1, 5], 4));
            let (want, end) = convolve(&op, &x, &past).unwrap();
            let mut state = past.clone();
            for (from, to) in [(0, 1), (1, 2), (2, 7)] {
                let (got, next) = convolve(&op, &part(&x, from, to), &state).unwrap();
                assert_eq!(values(&got), values(&part(&want, from, to)));
                state = next;
            }
            assert_eq!(values(&state), values(&end));
            let row = |a: &Array| a.slice_axis(0, 1, 2).unwrap();
            assert_eq!(values(&convolve(&op, &row(&x), &row(&past)).unwrap().0), values(&row(&want)));
            // By hand.
            let all = concatenate([&past, &x], 1).unwrap();
            let at = |t: i32, c: i32| {
                let sum: f32 = (0..taps).map(|i| value(&all, &[1, t + i, c]) * value(&op.weight, &[i, c])).sum();
                let sum = sum + op.bias.as_ref().map_or(0.0, |bias| value(bias, &[c]));
                if activation.is_some() { sum / (1.0 + (-sum).exp()) } else { sum }
            };
            assert!((value(&want, &[1, 3, 2]) - at(3, 2)).abs() < 1e-5);
        }
    }

    fn value(a: &Array, at: &[i32]) -> f32 {
        let to: Vec<i32> = at.iter().map(|i| i + 1).collect();
        values(&a.slice(at, &to, &vec![1; at.len()]).unwrap())[0]
    }

    #[test]
    fn recurrences_continue() {
        set_device(Device::Cpu).unwrap();
        let (rows, length, heads, keys, width) = (2, 6, 4, 20, 35);
        for (decays, own, corrected) in [(1, 4, false), (1, 2, true), (keys, 1, true), (keys, 4, false)] {
            let of = |heads: i32, width: i32, seed: u64| numbers(&[rows, length, heads, width], seed);
            let decay = of(heads, decays, 1).sigmoid().unwrap();
            let (a, b) = (of(own, keys, 2), of(heads, keys, 3));
            let (key, value_, query) = (of(own, keys, 4), of(heads, width, 5), of(own, keys, 6));
            let state = numbers(&[rows, heads, width, keys], 7);
            let op = |from: i32, to: i32| [&decay, &a, &b, &key, &value_, &query].map(|x| part(x, from, to));
            let run = |from: i32, to: i32, state: &Array| {
                let [decay, a, b, key, value, query] = &op(from, to);
                let correction = corrected.then_some([a, b]);
                recur(&Recurrence { decay, correction, key, value, query }, state).unwrap()
            };
            let (want, end) = run(0, length, &state);
            let mut now = state.clone();
            for (from, to) in [(0, 1), (1, 2), (2, length)] {
                let (got, next) = run(from, to, &now);
                assert_eq!(values(&got), values(&part(&want, from, to)));
                now = next;
            }
            assert_eq!(values(&now), values(&end));
            // One position by hand.
            let (row, head) = (1, 3);
            let shared = head * own / heads;
            let s = |v: i32, k: i32| value(&state, &[row, head, v, k]);
            for v in [0, 33] {
                let read: f32 = (0..keys).map(|k| s(v, k) * value(&a, &[row, 0, shared, k])).sum();
                let y: f32 = (0..keys)
                    .map(|k| {
                        let d = value(&decay, &[row, 0, head, if decays == 1 { 0 } else { k }]);
                        let c = if corrected { read * value(&b, &[row, 0, head, k]) } else { 0.0 };
                        let new = value(&value_, &[row, 0, head, v]) * value(&key, &[row, 0, shared, k]);
                        (s(v, k) * d + c + new) * value(&query, &[row, 0, shared, k])
                    })
                    .sum();
                let got = value(&want, &[row, 0, head, v]);
                assert!((got - y).abs() < 1e-4, "{got}, not {y}");
            }
        }
    }

    /// MLX's own operations make the same of it.
    #[test]
    fn kernels_agree_with_operations() {
        set_device(Device::Cpu).unwrap();
        let op = Convolution { weight: numbers(&[3, 8], 1), bias: None, activation: Some(Activation::Silu) };
        let (x, past) = (numbers(&[2, 5, 8], 2), numbers(&[2, 2, 8], 3));
        let convolved = [convolve, convolve_by_operations].map(|f| f(&op, &x, &past).unwrap());
        let of = |heads: i32, width: i32, seed: u64| numbers(&[2, 5, heads, width], seed);
        let [decay, key, value, query, a, b] =
            [of(4, 1, 4), of(2, 8, 5), of(4, 6, 6), of(2, 8, 7), of(2, 8, 8), of(4, 8, 9)];
        let recurrence =
            Recurrence { decay: &decay, correction: Some([&a, &b]), key: &key, value: &value, query: &query };
        let state = numbers(&[2, 4, 6, 8], 10);
        let recurred = [recur, recur_by_operations].map(|f| f(&recurrence, &state).unwrap());
        for [(result, next), (want, after)] in [convolved, recurred] {
            close(&result, &want, "result");
            close(&next, &after, "state");
        }
    }
}
