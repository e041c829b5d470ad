//! These run where there is a CUDA device, and pass elsewhere: `make test-cuda`.

use super::attend::attend;
use super::attention_kernel;
use super::common::active;
use super::kernel::Kernel;
use super::linear::{linear, plan};
use super::linear_kernel::{EpilogueKey, LinearKey};
use crate::array::fused::{
    self, Activation, At, Attention, Epilogue, HeadNorms, KvBuffer, Linear, Mask, Norm, NormKind, Offset, Part,
    Rotation, Scores, Turns, Weight,
};
use crate::array::quant::{Mode, Quantized, Scheme};
use crate::array::{Array, Device, Dtype, set_device};
use crate::error::Error;

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
    let rows = |x: &[f64]| w.chunks(columns).map(|w| w.iter().zip(x).map(|(a, b)| a * b).sum()).collect::<Vec<f64>>();
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
    let key = |bits, group, epilogue| {
        let parts = if matches!(epilogue, EpilogueKey::Store) {
            3
        } else {
            1 + usize::from(matches!(epilogue, EpilogueKey::Gate(_)))
        };
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
            epilogue,
        }
    };
    let keys = [
        key(4, 64, EpilogueKey::Gate(Activation::Silu)),
        key(8, 32, EpilogueKey::Gate(Activation::GeluTanh)),
        key(16, 32, EpilogueKey::Store),
        key(16, 64, EpilogueKey::Store),
        LinearKey { warps: 4, chunk: 2, ..key(4, 64, EpilogueKey::Gate(Activation::Silu)) },
        LinearKey { dtype: Dtype::F16, norm: None, warps: 16, ..key(4, 128, EpilogueKey::Add(0.5f32.to_bits())) },
    ];
    let attention = Attention::plain(8, 2, 64, Scores { softcap: Some(30.0), ..Scores::scaled(0.125) });
    for architecture in ["sm_80", "sm_90"] {
        for key in keys {
            key.build(|source| Kernel::compiled(source, architecture)).unwrap();
        }
        let body = attention_kernel::body(&attention);
        attention_kernel::kernel(Dtype::F16, &body, |source| Kernel::compiled(source, architecture)).unwrap();
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
                let part = |i: usize, bias| Part { bias, ..Part::of(weight(i)) };
                let parts = [part(0, None), part(1, Some(&bias)), part(2, None)];
                let op = Linear { x: &x, norm: None, parts: &parts, epilogue: Epilogue::Store };
                let out = linear(&op).unwrap().unwrap();
                let biases = values(&bias);
                for (i, out) in out.iter().enumerate() {
                    let mut want = products(&xs, &plain[i], k);
                    if i == 1 {
                        want.iter_mut().enumerate().for_each(|(j, v)| *v += biases[j % 40]);
                    }
                    close(out, &want, dtype, &what);
                }
                let residual = array(&[m, 1, 48], 6, dtype);
                let epilogue = Epilogue::Add { residual: &residual, scale: Some(0.5) };
                let out = linear(&Linear { parts: &parts[..1], epilogue, ..op }).unwrap().unwrap();
                let want = products(&xs, &plain[0], k);
                let want: Vec<f64> = want.iter().zip(values(&residual)).map(|(v, r)| r + 0.5 * v).collect();
                close(&out[0], &want, dtype, &what);
                let gate = [part(1, Some(&bias)), part(1, None)];
                let before = Norm { kind: NormKind::Rms, eps: 1e-5, weight: Some(norm.clone()), bias: None };
                let epilogue = Epilogue::Gate(Activation::Silu);
                let out = linear(&Linear { norm: Some(&before), parts: &gate, epilogue, ..op }).unwrap().unwrap();
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
        let frequencies: Vec<f64> = (0..d / 2).map(|i| 10_000f64.powf(-2.0 * i as f64 / f64::from(dim))).collect();
        let norms = [array(&[dim], 11, dtype), array(&[dim], 12, dtype)];
        let scores = Scores::scaled(1.0 / (dim as f32).sqrt());
        let mut op = Attention::plain(heads, kv_heads, dim, scores);
        if normed {
            let norm =
                |weight: &Array| Norm { kind: NormKind::Rms, eps: 1e-6, weight: Some(weight.clone()), bias: None };
            op.norms = HeadNorms::Same { q: norm(&norms[0]), k: norm(&norms[1]) };
        }
        op.rotation = Some(Rotation::new(dim, false, Turns::Powers { base: 10_000.0, scale: 1.0 }));
        let cache = [21, 22].map(|seed| array(&[batch, kv_heads, capacity, dim], seed, dtype));
        let [keys, values_there] = cache.each_ref().map(|a| a.slice_axis(2, 0, at).unwrap());
        let mut buffer = match at {
            0 => KvBuffer::default(),
            _ => KvBuffer::from_arrays(keys, values_there).unwrap(),
        };
        // Two steps: the second one sees what the first one has written.
        let mut reference = cache.each_ref().map(values);
        for step in 0..2 {
            let (at, positions) = (at + step, positions.iter().map(|p| p + step).collect::<Vec<_>>());
            let q = array(&[batch, 1, heads * dim], 31 + step as u32, dtype);
            let [k, v] = [41, 51].map(|s| array(&[batch, 1, kv_heads * dim], s + step as u32, dtype));
            let offset = Offset::new(positions.clone()).unwrap();
            let at_end = At { offset: &offset, held: Some(&positions), mask: &Mask::None };
            let out = attend(&op, [&q, &k, &v], &mut [&mut buffer], &at_end).expect(&what);
            let (qs, ks, vs) = (values(&q), values(&k), values(&v));
            let turned = |head: &[f64], norm: &Array, position: i32| {
                let mut head = if normed { normalised(head, &values(norm), 1e-6) } else { head.to_vec() };
                for i in 0..d / 2 {
                    let (sin, cos) = (f64::from(position) * frequencies[i]).sin_cos();
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
                        q.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() * f64::from(op.scores.scale)
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
        assert_eq!(buffer.len(), at + 2);
    }
}

/// Another kernel, or MLX's own operations, do the work of one that does not compile.
#[test]
fn a_kernel_that_does_not_compile_is_done_without() {
    if !on_gpu() {
        return;
    }
    let (rows, columns, dtype) = (48, 512, Dtype::Bf16);
    let [x, w] = [(2, 7), (rows, 1)].map(|(rows, seed)| array(&[rows, columns], seed, dtype));
    let parts = [Part::of(Weight::Dense(&w))];
    let residual = array(&[2, rows], 6, dtype);
    let epilogue = Epilogue::Add { residual: &residual, scale: Some(0.25) };
    let op = Linear { x: &x, norm: None, parts: &parts, epilogue };
    assert!(plan(&op).unwrap().key.kernel(|_| Err(Error::mlx("the test's own error"))).is_none());
    assert!(linear(&op).is_none());
    assert!(linear(&Linear { epilogue: Epilogue::Store, ..op }).is_some(), "another kernel");
    let out = fused::linear(&op).unwrap();
    let want = products(&values(&x), &values(&w), columns as usize);
    let want: Vec<f64> = want.iter().zip(values(&residual)).map(|(v, r)| r + 0.25 * v).collect();
    close(&out[0], &want, dtype, "without the kernel");
}
