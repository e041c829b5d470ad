//! The largest of many numbers.

use super::floats::Floats;
use super::level::{Level, multiversion};
use super::pool;

/// Numbers that are compared before any of their places matters.
const BLOCK: usize = 1024;

/// Calls `found` with each row of `columns` numbers and the place of its largest one, the first of equals. NaN is never the
/// largest; where there is nothing else the place is 0.
///
/// # Panics
/// If there are no columns, or they do not make whole rows.
pub fn argmax(level: Level, x: Floats<'_>, columns: usize, found: &(dyn Fn(usize, usize) + Sync)) {
    assert!(columns > 0 && x.len().is_multiple_of(columns), "argmax");
    let rows = x.len() / columns;
    let task = |row: usize| found(row, of_row(level, x.slice(row * columns, columns)));
    if x.len() < 1 << 17 { (0..rows).for_each(task) } else { pool::run(rows, &task) }
}

fn of_row(level: Level, row: Floats<'_>) -> usize {
    let (mut most, mut place) = (f32::NEG_INFINITY, None);
    for from in (0..row.len()).step_by(BLOCK) {
        let here = largest(level, row.slice(from, BLOCK.min(row.len() - from)));
        if here > most {
            (most, place) = (here, Some(from));
        }
    }
    let from = place.unwrap_or(0);
    (from..row.len()).find(|&i| row.at(i) == most).unwrap_or(0)
}

multiversion! {
    fn largest<const FMA: bool>(values: Floats<'_>) -> f32 {
        match values {
            Floats::F32(v) => lanes(v, |v| *v),
            Floats::F16(v) => lanes(v, |v| v.to_f32()),
            Floats::Bf16(v) => lanes(v, |v| v.to_f32()),
        }
    }
}

#[inline(always)]
fn lanes<T>(values: &[T], number: impl Fn(&T) -> f32) -> f32 {
    let mut most = [f32::NEG_INFINITY; 32];
    let (whole, rest) = values.as_chunks::<32>();
    for chunk in whole {
        for i in 0..32 {
            let v = number(&chunk[i]);
            most[i] = if v > most[i] { v } else { most[i] };
        }
    }
    rest.iter().map(number).chain(most).fold(f32::NEG_INFINITY, f32::max)
}

#[cfg(test)]
mod tests {
    use super::super::floats::{Bf16, F16};
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn the_first_of_the_largest() {
        let mut rng = SmallRng::seed_from_u64(5);
        for level in Level::available() {
            for columns in [1, 31, 32, 1024, 1025, 50_000] {
                let rows = 3;
                // Few different values, so that many are equal; NaN and infinities among them.
                let odd = [f32::NAN, f32::NEG_INFINITY];
                let value = |rng: &mut SmallRng| match rng.random_range(0..50) {
                    i @ 0..2 => odd[i],
                    i => (i % 40) as f32 - 39.5,
                };
                let x: Vec<f32> = (0..rows * columns).map(|_| value(&mut rng)).collect();
                let halves: Vec<F16> = x.iter().map(|v| F16::from_f32(*v)).collect();
                let upper: Vec<Bf16> = x.iter().map(|v| Bf16::from_f32(*v)).collect();
                for floats in [Floats::F32(&x), Floats::F16(&halves), Floats::Bf16(&upper)] {
                    let places = parking_lot::Mutex::new(vec![usize::MAX; rows]);
                    argmax(level, floats, columns, &|row, place| places.lock()[row] = place);
                    for (row, place) in places.into_inner().into_iter().enumerate() {
                        let values = &x[row * columns..(row + 1) * columns];
                        let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                        let want = values.iter().position(|v| *v == most).unwrap_or(0);
                        assert_eq!(place, want, "{level:?}, {columns} columns, row {row}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_but_nan() {
        argmax(Level::Portable, Floats::F32(&[f32::NAN; 5]), 5, &|row, place| assert_eq!((row, place), (0, 0)));
    }
}
