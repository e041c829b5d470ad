//! Activation functions.

use super::level::{fma, multiversion};
use super::math::{erfc, exp, tanh};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// `x * sigmoid(x)`
    Silu,
    /// `x * Phi(x)` with the normal distribution.
    Gelu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// `max(x, 0)`
    Relu,
    /// The clamped SwiGLU of GPT-OSS, only as a gate: `g * sigmoid(1.702 g) * (u + 1)`, where `g` is at most 7 and `u` between
    /// -7 and 7.
    SwigluOai,
    /// `max(x, 0)^2`
    ReluSquared,
}

#[inline(always)]
fn silu<const FMA: bool>(x: f32) -> f32 {
    x / (1.0 + exp::<FMA>(-x))
}

#[inline(always)]
fn gelu<const FMA: bool>(x: f32) -> f32 {
    // Of the two tails the one that is small, so that nothing cancels.
    let tail = 0.5 * erfc::<FMA>(x.abs() * std::f32::consts::FRAC_1_SQRT_2);
    x * if x > 0.0 { 1.0 - tail } else { tail }
}

/// Hendrycks and Gimpel 2016, arXiv:1606.08415.
#[inline(always)]
fn gelu_tanh<const FMA: bool>(x: f32) -> f32 {
    // sqrt(2 / pi)
    let inner = 0.797_884_6 * fma::<FMA>(0.044_715 * x * x, x, x);
    0.5 * x * (1.0 + tanh::<FMA>(inner))
}

#[inline(always)]
fn swiglu_oai<const FMA: bool>(gate: f32, up: f32) -> f32 {
    let (gate, up) = (gate.min(7.0), up.clamp(-7.0, 7.0));
    gate / (1.0 + exp::<FMA>(-1.702 * gate)) * (up + 1.0)
}

#[inline(always)]
fn relu_squared(x: f32) -> f32 {
    let x = x.max(0.0);
    x * x
}

multiversion! {
    /// `gate = act(gate) * up`
    pub(super) fn gate<const FMA: bool>(act: Act, gate: &mut [f32], up: &[f32]) {
        let pairs = gate.iter_mut().zip(up);
        match act {
            Act::Silu => pairs.for_each(|(g, u)| *g = silu::<FMA>(*g) * u),
            Act::Gelu => pairs.for_each(|(g, u)| *g = gelu::<FMA>(*g) * u),
            Act::GeluTanh => pairs.for_each(|(g, u)| *g = gelu_tanh::<FMA>(*g) * u),
            Act::Relu => pairs.for_each(|(g, u)| *g = g.max(0.0) * u),
            Act::SwigluOai => pairs.for_each(|(g, u)| *g = swiglu_oai::<FMA>(*g, *u)),
            Act::ReluSquared => pairs.for_each(|(g, u)| *g = relu_squared(*g) * u),
        }
    }
}

multiversion! {
    /// `values = act(values)`
    pub(super) fn activate<const FMA: bool>(act: Act, values: &mut [f32]) {
        match act {
            Act::Silu => values.iter_mut().for_each(|v| *v = silu::<FMA>(*v)),
            Act::Gelu => values.iter_mut().for_each(|v| *v = gelu::<FMA>(*v)),
            Act::GeluTanh => values.iter_mut().for_each(|v| *v = gelu_tanh::<FMA>(*v)),
            Act::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
            Act::SwigluOai => unreachable!("only gates"),
            Act::ReluSquared => values.iter_mut().for_each(|v| *v = relu_squared(*v)),
        }
    }
}
