//! Fused operations of a decoding step on CUDA, as kernels of our own.
//!
//! A step of a small model is bound by the host's time for each operation, one of a large model by how fast weights are
//! read; so these do as much as they can in one operation, and read each weight once for all sequences of a batch. For
//! up to [`FEW`] rows of input in bfloat16 or half, and weights in the same type or in 4 or 8 bits; everything else is
//! MLX's. Metal has good kernels of its own. `MLXE_GPU_KERNELS=0` turns these off.

mod kernel;
mod prompt;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use once_cell::sync::Lazy;

use self::kernel::{Kernel, Launch, Source};
pub use self::prompt::attend_prompt;
use super::cpu::{Act, CachedAttention, Then, Weight};
use super::device::{self, Device};
use super::quant::Mode;
use super::{Array, Dtype, zeros};
use crate::error::{Error, Result};

/// Rows of input that the kernels take.
pub const FEW: usize = 8;

/// Whether they are wanted, and this GPU can run them: from Ampere on.
static POSSIBLE: Lazy<AtomicBool> = Lazy::new(|| {
    let wanted = !crate::env::MLXE_GPU_KERNELS.is_off();
    AtomicBool::new(wanted && kernel::generation().is_some_and(|n| n >= 80))
});

/// Whether operations of this thread may run through these kernels.
pub fn active() -> bool {
    cfg!(not(target_vendor = "apple")) && device::device() == Device::Gpu && POSSIBLE.load(Ordering::Relaxed)
}

/// The kernel, or MLX's own operations from now on.
fn usable<T>(made: Result<T>) -> Option<T> {
    made.map_err(|error| {
        POSSIBLE.store(false, Ordering::Relaxed);
        log::warn!("the kernels for CUDA are not used: {error}");
    })
    .ok()
}

fn floats(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::Bf16 | Dtype::F16)
}

/// How a weight is stored, as far as the kernels know it: type, bits, columns with one scale.
fn stored(weight: &Weight<'_>) -> Option<(Dtype, i32, i32)> {
    let (dtype, bits, group, columns) = match weight {
        // So many columns in one step, where they come to that.
        Weight::Dense(w) => (w.dtype(), 16, if w.dim(-1) % 64 == 0 { 64 } else { 32 }, w.dim(-1)),
        Weight::Quantized(q) => {
            let known = q.scheme.mode == Mode::Affine
                && matches!(q.scheme.bits, 4 | 8)
                && q.biases.as_ref().is_some_and(|b| b.dtype() == q.scales.dtype());
            known.then_some((q.scales.dtype(), q.scheme.bits, q.scheme.group_size, weight.columns()))?
        }
    };
    (floats(dtype) && columns % group == 0).then_some((dtype, bits, group))
}

/// Whether [`linear`] knows such a weight.
pub fn supports(weight: &Weight<'_>) -> bool {
    active() && stored(weight).is_some()
}

/// What tells one kernel for products from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct LinearKey {
    dtype: Dtype,
    bits: i32,
    group: i32,
    /// Groups that a warp takes at a time.
    chunk: i32,
    warps: usize,
    /// Which parts have a bias.
    biases: [bool; MAX_PARTS],
    parts: usize,
    /// The norm's epsilon, in bits.
    norm: Option<u32>,
    then: ThenKey,
}

/// Matrices of one operation.
const MAX_PARTS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ThenKey {
    Store,
    /// The factor, in bits.
    Add(u32),
    Gate(Act),
}

thread_local! {
    static LINEAR: RefCell<HashMap<LinearKey, Rc<Kernel>>> = RefCell::default();
}

/// What [`cpu::linear`](super::cpu::linear) does, after an RMS norm of `x` (weight and epsilon) where one is given. `None`
/// where these kernels cannot.
pub fn linear(
    x: &Array,
    norm: Option<(f32, &Array)>,
    weights: &[(Weight<'_>, Option<&Array>)],
    then: &Then<'_>,
) -> Option<Result<Vec<Array>>> {
    if !active() {
        return None;
    }
    let dtype = x.dtype();
    let (first, _) = weights.first()?;
    let columns = first.columns();
    let known = stored(first)?;
    let same = |a: &Array| a.dtype() == dtype;
    let fits = known.0 == dtype
        && weights.len() <= MAX_PARTS
        && x.size() > 0
        && x.dim(-1) == columns
        && x.size() / columns as usize <= FEW
        && weights.iter().all(|(w, bias)| {
            stored(w) == Some(known)
                && w.columns() == columns
                && bias.is_none_or(|b| same(b) && b.shape() == [w.rows()])
        })
        && norm.is_none_or(|(_, weight)| same(weight) && weight.shape() == [columns]);
    if !fits {
        return None;
    }
    let mut shapes: Vec<Vec<i32>> = Vec::with_capacity(weights.len());
    for (weight, _) in weights {
        let mut shape = x.shape().to_vec();
        *shape.last_mut()? = weight.rows();
        shapes.push(shape);
    }
    let (then_key, joint) = match then {
        Then::Store => (ThenKey::Store, 1),
        Then::Activate(_) => return None,
        Then::Add(residual, factor) => {
            if weights.len() != 1 || !factor.is_finite() || !same(residual) || residual.shape() != shapes[0] {
                return None;
            }
            (ThenKey::Add(factor.to_bits()), 1)
        }
        Then::Gate(act) => {
            if weights.len() != 2 || shapes[0] != shapes[1] {
                return None;
            }
            shapes.truncate(1);
            (ThenKey::Gate(*act), 2)
        }
    };
    let tiles: usize = weights.iter().step_by(joint).map(|(w, _)| (w.rows() as usize).div_ceil(16)).sum();
    let (_, bits, group) = known;
    let mut biases = [false; MAX_PARTS];
    for (has, (_, bias)) in biases.iter_mut().zip(weights) {
        *has = bias.is_some();
    }
    let groups = columns / group;
    let warps = match () {
        // Few tiles leave multiprocessors idle unless each has many warps.
        () if tiles < 264 && groups >= 32 => 16,
        // Where there are many tiles and much to do for each, less is gathered at their ends.
        () if joint == 2 && tiles >= 528 && columns >= 4096 => 4,
        () => 8,
    };
    // Two groups have their scales in one word.
    let chunk = if bits < 16 && groups % 2 == 0 && groups as usize >= 2 * warps { 2 } else { 1 };
    let norm_key = norm.map(|(eps, _)| eps.to_bits());
    let key =
        LinearKey { dtype, bits, group, chunk, warps, biases, parts: weights.len(), norm: norm_key, then: then_key };
    let mut inputs = vec![x];
    for (weight, bias) in weights {
        weight.push_to(&mut inputs);
        inputs.extend(bias);
    }
    if let Then::Add(residual, _) = then {
        inputs.push(residual);
    }
    inputs.extend(norm.map(|(_, weight)| weight));
    let outputs: Vec<(&[i32], Dtype)> = shapes.iter().map(|s| (s.as_slice(), dtype)).collect();
    let rows = x.size() as i32 / columns;
    let scalars: Vec<i32> = [rows, columns].into_iter().chain(weights.iter().map(|(w, _)| w.rows())).collect();
    let launch = Launch { outputs: &outputs, scalars: &scalars, blocks: [tiles, 1, 1], threads: warps * 32 };
    usable(key.kernel()).map(|kernel| kernel.run(&inputs, &launch))
}

impl LinearKey {
    fn kernel(&self) -> Result<Rc<Kernel>> {
        if let Some(kernel) = LINEAR.with(|known| known.borrow().get(self).cloned()) {
            return Ok(kernel);
        }
        let kernel = Rc::new(self.build(Kernel::new)?);
        LINEAR.with(|known| known.borrow_mut().insert(*self, kernel.clone()));
        Ok(kernel)
    }

    /// The kernel's text: which matrices a block takes, and what becomes of its sums.
    fn build(&self, compile: impl FnOnce(&Source) -> Result<Kernel>) -> Result<Kernel> {
        let coded = self.bits < 16;
        let mut inputs = vec![("T", "x".to_owned())];
        for i in 0..self.parts {
            inputs.push(("uint32_t", format!("w{i}")));
            if coded {
                inputs.extend([("T", format!("s{i}")), ("T", format!("b{i}"))]);
            }
            if self.biases[i] {
                inputs.push(("T", format!("c{i}")));
            }
        }
        let matrix = |i: usize| match coded {
            true => format!("{{w{i}, s{i}, b{i}, rows{i}}}"),
            false => format!("{{w{i}, nullptr, nullptr, rows{i}}}"),
        };
        let biased = |i: usize, sum: &str| match self.biases[i] {
            true => format!("({sum} + float(c{i}[feature]))"),
            false => sum.to_owned(),
        };
        let (mut choose, mut then) = (String::new(), String::new());
        let mut tiles = 1;
        match self.then {
            ThenKey::Gate(act) => {
                tiles = 2;
                let act = match act {
                    Act::Silu => "silu",
                    Act::Gelu => "gelu",
                    Act::GeluTanh => "gelu_tanh",
                    Act::Relu => "relu",
                };
                let _ = write!(choose, "mats[0] = {}; mats[1] = {};", matrix(0), matrix(1));
                let _ = write!(then, "out0[at] = T({act}({}) * {});", biased(0, "total[0]"), biased(1, "total[1]"));
            }
            ThenKey::Add(factor) => {
                inputs.push(("T", "residual".into()));
                let (factor, sum) = (f32::from_bits(factor), biased(0, "total[0]"));
                let _ = write!(choose, "mats[0] = {};", matrix(0));
                let _ = write!(then, "out0[at] = T(float(residual[at]) + {} * {sum});", literal(factor));
            }
            ThenKey::Store => {
                // Parts one after the other: each has whole tiles.
                choose += "int part = 0;";
                for i in 0..self.parts {
                    let more = i + 1 < self.parts;
                    let _ = write!(choose, "mats[0] = {};", matrix(i));
                    let _ = write!(then, "if (part == {i}) out{i}[at] = T({});", biased(i, "total[0]"));
                    if more {
                        let _ = write!(
                            choose,
                            "if (tile >= (mats[0].rows + 15) / 16) {{ tile -= (mats[0].rows + 15) / 16; part = {};",
                            i + 1
                        );
                    }
                }
                choose += &"}".repeat(self.parts - 1);
            }
        }
        let results = if tiles == 2 { 1 } else { self.parts };
        let outputs: Vec<_> = (0..results).map(|i| ("T", format!("out{i}"))).collect();
        if self.norm.is_some() {
            inputs.push(("T", "norm".into()));
        }
        let scalars: Vec<String> =
            ["m".to_owned(), "k".to_owned()].into_iter().chain((0..self.parts).map(|i| format!("rows{i}"))).collect();
        let body = format!(
            "constexpr int BITS = {}, GROUP = {}, CHUNK = {}, TILES = {tiles}, WARPS = {};\nconstexpr bool NORM = {};\nconstexpr float EPS \
             = {};\n{}",
            self.bits,
            self.group,
            self.chunk,
            self.warps,
            self.norm.is_some(),
            literal(f32::from_bits(self.norm.unwrap_or(0))),
            include_str!("cuda/linear_body.cu")
                .replace("CHOOSE", &choose)
                .replace("THEN", &then)
                .replace("NORM_WEIGHT", if self.norm.is_some() { "norm" } else { "static_cast<const T*>(nullptr)" }),
        );
        compile(&Source {
            name: "mlxe_linear",
            dtype: self.dtype,
            inputs: &inputs,
            outputs: &outputs,
            scalars: &scalars,
            header: include_str!("cuda/linear.cu"),
            body: &body,
        })
    }
}

/// A number as C++ has it, exactly.
fn literal(value: f32) -> String {
    format!("{value:?}f")
}

/// What [`attend`] needs beside its inputs, made once a layer.
pub struct Prepared {
    kernel: Rc<Kernel>,
    frequencies: Array,
}

thread_local! {
    static ATTENTION: RefCell<HashMap<(Dtype, String), Rc<Kernel>>> = RefCell::default();
    /// The places of the last step: all layers have the same.
    static PLACES: RefCell<Option<(Vec<i32>, Array)>> = const { RefCell::new(None) };
}

impl Prepared {
    fn new(a: &CachedAttention, dtype: Dtype) -> Result<Prepared> {
        let body = attention_body(a);
        let known = ATTENTION.with(|known| known.borrow().get(&(dtype, body.clone())).cloned());
        let kernel = match known {
            Some(kernel) => kernel,
            None => {
                let kernel = Rc::new(attention_kernel(dtype, &body, Kernel::new)?);
                ATTENTION.with(|known| known.borrow_mut().insert((dtype, body), kernel.clone()));
                kernel
            }
        };
        let frequencies = a.rotation.as_ref().map_or(&[0.0][..], |r| &r.frequencies);
        let frequencies = Array::from_slice(frequencies, &[frequencies.len() as i32])?;
        Ok(Prepared { kernel, frequencies })
    }
}

/// The kernel's text, with what it is made for.
fn attention_body(a: &CachedAttention) -> String {
    let rotated = a.rotation.as_ref().map_or(0, |r| r.dims);
    format!(
        "constexpr int DIM = {}, HEADS = {}, KV_HEADS = {}, ROTATED = {rotated};\nconstexpr bool NORM = {}, INTERLEAVED = \
         {};\nconstexpr float EPS = {}, MAGNITUDE = {}, SCALE = {}, CAP = {};\n{}",
        a.head_dim,
        a.heads,
        a.kv_heads,
        a.norms.is_some(),
        a.rotation.as_ref().is_some_and(|r| r.interleaved),
        literal(a.norms.as_ref().map_or(0.0, |n| n.0)),
        literal(a.rotation.as_ref().map_or(1.0, |r| r.magnitude)),
        literal(a.scale),
        literal(a.softcap.unwrap_or(0.0)),
        include_str!("cuda/attention_body.cu")
    )
}

fn attention_kernel(dtype: Dtype, body: &str, compile: impl FnOnce(&Source) -> Result<Kernel>) -> Result<Kernel> {
    let named = |t: &'static str, list: &str| list.split(' ').map(|name| (t, name.to_owned())).collect::<Vec<_>>();
    let inputs = [
        named("T", "q k v keys values"),
        named("int", "places"),
        named("unsigned", "counts before"),
        named("float", "frequencies"),
        named("T", "q_norm k_norm"),
    ];
    let outputs = [named("T", "out"), named("unsigned", "written"), named("float", "partial")];
    compile(&Source {
        name: "mlxe_attention",
        dtype,
        inputs: &inputs.concat(),
        outputs: &outputs.concat(),
        scalars: &["capacity".into()],
        header: include_str!("cuda/attention.cu"),
        body,
    })
}

/// A cache that the kernel writes to in place: buffers `[batch, kv heads, capacity, features]` that nobody else uses, and
/// what orders the kernels that do.
#[derive(Default)]
pub struct InPlace {
    counts: Option<Array>,
    written: Option<Array>,
}

impl InPlace {
    /// Waits for what was written. Before anything but [`attend`] uses the buffers: MLX does not know of it.
    pub fn settle(&self) -> Result<()> {
        self.written.as_ref().map_or(Ok(()), Array::eval)
    }

    /// What to compute so that everything is written.
    pub fn arrays(&self) -> impl Iterator<Item = &Array> {
        self.written.iter()
    }
}

/// Whether [`attend`] can do such attention.
pub fn attends(a: &CachedAttention, q: &Array, k: &Array) -> bool {
    active()
        && matches!(a.head_dim, 64 | 128 | 256)
        && q.dim(1) == 1
        && floats(q.dtype())
        && k.dtype() == q.dtype()
        && a.norms.as_ref().is_none_or(|(_, q_norm, k_norm)| q_norm.dtype() == q.dtype() && k_norm.dtype() == q.dtype())
        && (a.prepared.get().is_some()
            || usable(Prepared::new(a, q.dtype())).map(|made| a.prepared.get_or_init(|| made)).is_some())
}

/// After [`attends`]: writes the keys and values of one new position a sequence into the cache at `at` and attends over it.
/// Inputs are as the
/// projections made them, `[batch, 1, heads * head_dim]`; the result is like `q`. Sequence `i` has had `positions[i]`
/// positions, which lie before `at`.
pub fn attend(
    a: &CachedAttention,
    [q, k, v]: [&Array; 3],
    (keys, values): (&Array, &Array),
    (at, positions): (i32, &[i32]),
    order: &mut InPlace,
) -> Result<Array> {
    let (batch, dtype) = (q.dim(0), q.dtype());
    let capacity = keys.dim(2);
    let query = [batch, 1, a.heads * a.head_dim];
    let key = [batch, 1, a.kv_heads * a.head_dim];
    let cache = [batch, a.kv_heads, capacity, a.head_dim];
    let fits = q.shape() == query
        && [k, v].iter().all(|x| x.shape() == key && x.dtype() == dtype)
        && [keys, values].iter().all(|x| x.shape() == cache && x.dtype() == dtype)
        && positions.len() == batch as usize
        && at < capacity
        && positions.iter().all(|p| (0..=at).contains(p));
    if !fits {
        return Err(Error::mlx(format!("attention: shapes do not fit: {q:?}, {k:?}, {v:?}, {keys:?} at {at}")));
    }
    let prepared = a.prepared.get().ok_or_else(|| Error::internal("attention that no kernel was made for"))?;
    let places = places(at, positions)?;
    let heads = batch * a.heads;
    let counts = match &order.counts {
        Some(counts) if counts.dim(0) == heads => counts.clone(),
        _ => zeros(&[heads], Dtype::U32)?,
    };
    let before = order.written.as_ref().unwrap_or(&counts).clone();
    let (q_norm, k_norm) = a.norms.as_ref().map_or((q, k), |(_, q, k)| (q, k));
    let longest = positions.iter().copied().max().unwrap_or(0) as usize;
    // A block reads 64 keys at a time.
    let shares = longest.div_ceil(256).clamp(1, 16);
    let partial = match shares {
        1 => 1,
        _ => heads * shares as i32 * (a.head_dim + 2),
    };
    let launch = Launch {
        outputs: &[(&query, dtype), (&[heads], Dtype::U32), (&[partial], Dtype::F32)],
        scalars: &[capacity],
        blocks: [a.heads as usize, shares, batch as usize],
        threads: 512,
    };
    let inputs = [q, k, v, keys, values, &places, &counts, &before, &prepared.frequencies, q_norm, k_norm];
    let mut results = prepared.kernel.run(&inputs, &launch)?.into_iter();
    let (Some(out), written) = (results.next(), results.next()) else {
        return Err(Error::internal("a kernel without results"));
    };
    order.counts = Some(counts);
    order.written = written;
    Ok(out)
}

fn places(at: i32, positions: &[i32]) -> Result<Array> {
    PLACES.with(|last| {
        let mut last = last.borrow_mut();
        if let Some((known, array)) = &*last
            && known[0] == at
            && known[1..] == *positions
        {
            return Ok(array.clone());
        }
        let all: Vec<i32> = std::iter::once(at).chain(positions.iter().copied()).collect();
        let array = Array::from_slice(&all, &[all.len() as i32])?;
        *last = Some((all, array.clone()));
        Ok(array)
    })
}

/// These run where there is a CUDA device, and pass elsewhere: `make test-cuda`.
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::cpu::Rotation;
    use super::super::quant::{Quantized, Scheme};
    use super::super::{eval, set_device};
    use super::*;

    pub(super) fn on_gpu() -> bool {
        Device::Gpu.is_available() && set_device(Device::Gpu).is_ok() && active()
    }

    /// Numbers between -1 and 1.
    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32 * 2.0 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    pub(super) fn array(shape: &[i32], seed: u32, dtype: Dtype) -> Array {
        let n = shape.iter().product::<i32>() as usize;
        Array::from_slice(&numbers(n, seed), shape).unwrap().astype(dtype).unwrap()
    }

    pub(super) fn values(a: &Array) -> Vec<f64> {
        a.astype(Dtype::F32).unwrap().to_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
    }

    /// Within what rounding to the type allows, relative to the size of all.
    pub(super) fn close(got: &Array, want: &[f64], dtype: Dtype, what: &str) {
        let got = values(got);
        assert_eq!(got.len(), want.len(), "{what}");
        let size = (want.iter().map(|v| v * v).sum::<f64>() / want.len() as f64).sqrt();
        let rounding = if dtype == Dtype::Bf16 { 1.0 / 128.0 } else { 1.0 / 1024.0 };
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() <= rounding * (size + w.abs()), "{what}: {g} at {i}, expected {w}");
        }
    }

    fn products(x: &[f64], w: &[f64], columns: usize) -> Vec<f64> {
        let rows =
            |x: &[f64]| w.chunks(columns).map(|w| w.iter().zip(x).map(|(a, b)| a * b).sum()).collect::<Vec<f64>>();
        x.chunks(columns).flat_map(rows).collect()
    }

    fn normalised(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
        let row = |x: &[f64]| {
            let scale = 1.0 / (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64 + eps).sqrt();
            x.iter().zip(weight).map(|(v, w)| v * scale * w).collect::<Vec<_>>()
        };
        x.chunks(weight.len()).flat_map(row).collect()
    }

    /// Needs CUDA's compiler, but no GPU.
    #[test]
    fn all_kernels_compile() {
        if !Kernel::can_compile() {
            return;
        }
        let key = |bits, group, then| {
            let parts =
                if matches!(then, ThenKey::Store) { 3 } else { 1 + usize::from(matches!(then, ThenKey::Gate(_))) };
            let norm = Some(1e-6f32.to_bits());
            LinearKey {
                dtype: Dtype::Bf16,
                bits,
                group,
                chunk: 1,
                warps: 8,
                biases: [true, false, true],
                parts,
                norm,
                then,
            }
        };
        let keys = [
            key(4, 64, ThenKey::Gate(Act::Silu)),
            key(8, 32, ThenKey::Gate(Act::GeluTanh)),
            key(16, 32, ThenKey::Store),
            key(16, 64, ThenKey::Store),
            LinearKey { warps: 4, chunk: 2, ..key(4, 64, ThenKey::Gate(Act::Silu)) },
            LinearKey { dtype: Dtype::F16, norm: None, warps: 16, ..key(4, 128, ThenKey::Add(0.5f32.to_bits())) },
        ];
        let attention = CachedAttention {
            heads: 8,
            kv_heads: 2,
            head_dim: 64,
            scale: 0.125,
            softcap: Some(30.0),
            norms: None,
            rotation: None,
            prepared: Default::default(),
        };
        for architecture in ["sm_80", "sm_90"] {
            for key in keys {
                key.build(|source| Kernel::compiled(source, architecture)).unwrap();
            }
            let body = attention_body(&attention);
            attention_kernel(Dtype::F16, &body, |source| Kernel::compiled(source, architecture)).unwrap();
        }
    }

    #[test]
    fn products_of_all_formats() {
        if !on_gpu() {
            return;
        }
        // Short rows are read a group at a time, long ones two.
        for (dtype, columns) in [(Dtype::Bf16, 512), (Dtype::F16, 512), (Dtype::Bf16, 2048)] {
            for (bits, group) in [(16, 128), (4, 32), (4, 64), (4, 128), (8, 32), (8, 64), (8, 128)] {
                let make = |rows: i32, seed: u32| {
                    let w = array(&[rows, columns], seed, dtype);
                    if bits == 16 {
                        return (None, w);
                    }
                    let scheme = Scheme { mode: Mode::Affine, bits, group_size: group };
                    let q = Quantized::quantize(&w, scheme).unwrap();
                    let exact = Quantized {
                        scales: q.scales.astype(Dtype::F32).unwrap(),
                        biases: q.biases.as_ref().map(|b| b.astype(Dtype::F32).unwrap()),
                        ..q.clone()
                    };
                    let w = exact.dequantize().unwrap();
                    (Some(q), w)
                };
                let made = [(48, 1), (40, 2), (8, 3)].map(|(rows, seed)| make(rows, seed));
                let weight = |i: usize| match &made[i] {
                    (Some(q), _) => Weight::Quantized(q),
                    (None, w) => Weight::Dense(w),
                };
                let plain: Vec<Vec<f64>> = made.iter().map(|(_, w)| values(w)).collect();
                let bias = array(&[40], 9, dtype);
                let norm = array(&[columns], 8, dtype);
                for m in [1, 3, 8] {
                    let what = format!("{bits} bits, groups of {group}, {m} rows, {dtype}");
                    let x = array(&[m, 1, columns], 7, dtype);
                    let xs = values(&x);
                    let k = columns as usize;
                    let parts = [(weight(0), None), (weight(1), Some(&bias)), (weight(2), None)];
                    let out = linear(&x, None, &parts, &Then::Store).unwrap().unwrap();
                    let biases = values(&bias);
                    for (i, out) in out.iter().enumerate() {
                        let mut want = products(&xs, &plain[i], k);
                        if i == 1 {
                            want.iter_mut().enumerate().for_each(|(j, v)| *v += biases[j % 40]);
                        }
                        close(out, &want, dtype, &what);
                    }
                    let residual = array(&[m, 1, 48], 6, dtype);
                    let then = Then::Add(&residual, 0.5);
                    let out = linear(&x, None, &[(weight(0), None)], &then).unwrap().unwrap();
                    let want = products(&xs, &plain[0], k);
                    let want: Vec<f64> = want.iter().zip(values(&residual)).map(|(v, r)| r + 0.5 * v).collect();
                    close(&out[0], &want, dtype, &what);
                    let gate = [(weight(1), Some(&bias)), (weight(1), None)];
                    let out = linear(&x, Some((1e-5, &norm)), &gate, &Then::Gate(Act::Silu)).unwrap().unwrap();
                    let rounded = Array::from_slice(
                        &normalised(&xs, &values(&norm), 1e-5).iter().map(|v| *v as f32).collect::<Vec<_>>(),
                        &[m, columns],
                    );
                    let want = products(&values(&rounded.unwrap().astype(dtype).unwrap()), &plain[1], k);
                    let silu = |v: f64| v / (1.0 + (-v).exp());
                    let want: Vec<f64> = want.iter().enumerate().map(|(j, v)| silu(v + biases[j % 40]) * v).collect();
                    close(&out[0], &want, dtype, &what);
                }
            }
        }
    }

    #[test]
    fn attention_over_a_cache_written_in_place() {
        if !on_gpu() {
            return;
        }
        let (heads, kv_heads) = (4i32, 2i32);
        for (dim, at, positions, normed) in [
            (128, 0, vec![0], true),
            (128, 200, vec![200], false),
            (64, 700, vec![700, 300], true),
            (256, 1500, vec![1500, 0, 7], true),
        ] {
            let (dtype, batch, capacity, d) = (Dtype::Bf16, positions.len() as i32, 1536, dim as usize);
            let what = format!("heads of {dim}, at {at}");
            let rotation = Rotation {
                dims: d,
                interleaved: false,
                frequencies: (0..d / 2).map(|i| 10_000f32.powf(-2.0 * i as f32 / d as f32)).collect(),
                magnitude: 1.0,
            };
            let norms = [array(&[dim], 11, dtype), array(&[dim], 12, dtype)];
            let a = CachedAttention {
                heads,
                kv_heads,
                head_dim: dim,
                scale: 1.0 / (dim as f32).sqrt(),
                softcap: None,
                norms: normed.then(|| (1e-6, norms[0].clone(), norms[1].clone())),
                rotation: Some(Arc::new(rotation.clone())),
                prepared: Default::default(),
            };
            let cache = [21, 22].map(|seed| array(&[batch, kv_heads, capacity, dim], seed, dtype));
            eval(&cache).unwrap();
            // Two steps: the second one sees what the first one has written.
            let mut order = InPlace::default();
            let mut reference = cache.each_ref().map(values);
            for step in 0..2 {
                let (at, positions) = (at + step, positions.iter().map(|p| p + step).collect::<Vec<_>>());
                let q = array(&[batch, 1, heads * dim], 31 + step as u32, dtype);
                let [k, v] = [41, 51].map(|s| array(&[batch, 1, kv_heads * dim], s + step as u32, dtype));
                assert!(attends(&a, &q, &k), "{what}");
                let out = attend(&a, [&q, &k, &v], (&cache[0], &cache[1]), (at, &positions), &mut order);
                let (qs, ks, vs) = (values(&q), values(&k), values(&v));
                let turned = |head: &[f64], norm: &Array, position: i32| {
                    let mut head = if normed { normalised(head, &values(norm), 1e-6) } else { head.to_vec() };
                    for i in 0..d / 2 {
                        let (sin, cos) = (f64::from(position) * f64::from(rotation.frequencies[i])).sin_cos();
                        let (x, y) = (head[i], head[i + d / 2]);
                        (head[i], head[i + d / 2]) = (x * cos - y * sin, x * sin + y * cos);
                    }
                    head
                };
                let mut want = Vec::new();
                for (b, &position) in positions.iter().enumerate() {
                    let place = |h: usize, s: usize| ((b * kv_heads as usize + h) * capacity as usize + s) * d;
                    for h in 0..kv_heads as usize {
                        let from = (b * kv_heads as usize + h) * d;
                        let to = place(h, at as usize);
                        reference[0][to..to + d].copy_from_slice(&turned(&ks[from..from + d], &norms[1], position));
                        reference[1][to..to + d].copy_from_slice(&vs[from..from + d]);
                    }
                    for h in 0..heads as usize {
                        let from = (b * heads as usize + h) * d;
                        let q = turned(&qs[from..from + d], &norms[0], position);
                        let kv = h / (heads / kv_heads) as usize;
                        let seen = (at - position) as usize..=at as usize;
                        let score = |s: usize| {
                            let key = &reference[0][place(kv, s)..][..d];
                            q.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() * f64::from(a.scale)
                        };
                        let weights: Vec<f64> = seen.clone().map(|s| score(s).exp()).collect();
                        let total: f64 = weights.iter().sum();
                        want.extend((0..d).map(|i| {
                            let parts = seen.clone().zip(&weights).map(|(s, w)| w * reference[1][place(kv, s) + i]);
                            parts.sum::<f64>() / total
                        }));
                    }
                }
                close(&out.unwrap(), &want, dtype, &what);
            }
            order.settle().unwrap();
        }
    }
}
