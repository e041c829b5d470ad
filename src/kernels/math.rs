//! Elementary functions, in code that vectorises.

use super::level::fma;

/// `e^x` to within 2 units in the last place; saturates instead of overflowing. Range reduction by ln 2 and the Taylor
/// polynomial of degree 6 on [-ln2/2, ln2/2].
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    // ln 2 in two parts, so that the first product is exact.
    let r = fma::<FMA>(n, -355.0 / 512.0, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let p = fma::<FMA>(r, 1.0 / 720.0, 1.0 / 120.0);
    let p = fma::<FMA>(p, r, 1.0 / 24.0);
    let p = fma::<FMA>(p, r, 1.0 / 6.0);
    let p = fma::<FMA>(p, r, 0.5);
    let p = fma::<FMA>(p, r, 1.0);
    let p = fma::<FMA>(p, r, 1.0);
    p * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// `tanh(x)` from `e^2x`, by its series where that would cancel.
#[inline(always)]
pub(super) fn tanh<const FMA: bool>(x: f32) -> f32 {
    let e = exp::<FMA>(2.0 * x.clamp(-15.0, 15.0));
    let large = (e - 1.0) / (e + 1.0);
    let s = x * x;
    let small = x * fma::<FMA>(s, fma::<FMA>(s, fma::<FMA>(s, -17.0 / 315.0, 2.0 / 15.0), -1.0 / 3.0), 1.0);
    if x.abs() < 0.15 { small } else { large }
}

/// `1 - erf(x)` for `x >= 0`, to within 2e-7: Abramowitz and Stegun 7.1.26.
#[inline(always)]
pub(super) fn erfc<const FMA: bool>(x: f32) -> f32 {
    let t = 1.0 / fma::<FMA>(0.327_591_1, x, 1.0);
    let p = fma::<FMA>(t, 1.061_405_4, -1.453_152);
    let p = fma::<FMA>(p, t, 1.421_413_7);
    let p = fma::<FMA>(p, t, -0.284_496_74);
    let p = fma::<FMA>(p, t, 0.254_829_6);
    p * t * exp::<FMA>(-x * x)
}
