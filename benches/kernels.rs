//! The CPU kernels on the shapes of Qwen3-0.6B: `cargo bench -p mlx-engine-kernels`.
//!
//! Throughput is bytes of weights read (few rows) or multiplications and additions (many rows) a second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mlx_engine_kernels::{
    Act, Attention, Bf16, Epilogue, Experts, Floats, FloatsMut, Keys, Level, Matrix, Over, Part, RouterSoftmax,
    Routing, Values, Visible, attend, mix, product,
};

/// Output and input features: gate, down, output layer (an eighth of it).
const SHAPES: [(usize, usize); 3] = [(3072, 1024), (1024, 3072), (18992, 1024)];

fn numbers(n: usize) -> Vec<Bf16> {
    (0..n).map(|i| Bf16::from_f32((i * 7919 % 1000) as f32 / 1000.0 - 0.5)).collect()
}

fn products(c: &mut Criterion) {
    for m in [1, 2, 4, 8, 16, 128] {
        let mut group = c.benchmark_group(format!("{m} rows"));
        for (rows, columns) in SHAPES {
            let (x, dense) = (numbers(m * columns), numbers(rows * columns));
            let scales = numbers(rows * columns / 64);
            let codes: Vec<u8> = (0..rows * columns).map(|i| (i * 31) as u8).collect();
            let mut out = vec![Bf16::ZERO; m * rows];
            let affine = |bits: u32| Values::Affine {
                bits,
                group: 64,
                codes: &codes[..rows * columns * bits as usize / 8],
                scales: Floats::Bf16(&scales),
                biases: Floats::Bf16(&scales),
            };
            for (name, values, bytes) in [
                ("bf16", Values::Dense(Floats::Bf16(&dense)), rows * columns * 2),
                ("4 bits", affine(4), rows * columns * 9 / 16),
                ("6 bits", affine(6), rows * columns * 13 / 16),
                ("8 bits", affine(8), rows * columns * 17 / 16),
            ] {
                group.throughput(match m {
                    1 => Throughput::Bytes(bytes as u64),
                    _ => Throughput::Elements((2 * m * rows * columns) as u64),
                });
                let part = Part { weight: Matrix { rows, columns, values }, bias: None };
                group.bench_function(BenchmarkId::new(name, format!("{rows}x{columns}")), |b| {
                    b.iter(|| {
                        let out = vec![FloatsMut::Bf16(black_box(&mut out))];
                        product(Level::get(), Floats::Bf16(black_box(&x)), m, &[part], Epilogue::Store, out);
                    });
                });
            }
        }
        group.finish();
    }
}

/// The experts of a layer of Qwen3-30B-A3B, a quarter of them and of those that a row uses, in 4 bits.
fn experts(c: &mut Criterion) {
    let (count, chosen, features, inner) = (32, 2, 2048, 768);
    let codes: Vec<u8> = (0..count * features * inner / 2).map(|i| (i * 31) as u8).collect();
    let scales = numbers(count * features * inner / 64);
    let stack = |rows: usize, columns: usize| Part {
        weight: Matrix {
            rows: count * rows,
            columns,
            values: Values::Affine {
                bits: 4,
                group: 64,
                codes: &codes,
                scales: Floats::Bf16(&scales),
                biases: Floats::Bf16(&scales),
            },
        },
        bias: None,
    };
    let gate = stack(inner, features);
    let experts = Experts { count, gate, up: gate, down: stack(features, inner), act: Act::Silu };
    let mut group = c.benchmark_group("experts");
    for m in [1, 32, 128, 512] {
        let (x, logits) = (numbers(m * features), numbers(m * count));
        let mut out = vec![Bf16::ZERO; m * features];
        group.throughput(Throughput::Elements((2 * 3 * m * chosen * features * inner) as u64));
        group.bench_function(format!("{m} rows"), |b| {
            b.iter(|| {
                let routing = Routing { logits: Floats::Bf16(&logits), chosen, softmax: RouterSoftmax::Chosen };
                let out = FloatsMut::Bf16(black_box(&mut out));
                mix(Level::get(), Floats::Bf16(black_box(&x)), m, &experts, &routing, None, out);
            });
        });
    }
    group.finish();
}

fn attention(c: &mut Criterion) {
    let (heads, kv_heads, dim) = (16, 8, 128);
    let mut group = c.benchmark_group("attention");
    for (length, count) in [(1, 512), (1, 4096), (128, 512)] {
        let (q, k) = (numbers(length * heads * dim), numbers(kv_heads * count * dim));
        let mut out = vec![Bf16::ZERO; length * heads * dim];
        let a = Attention {
            batch: 1,
            length,
            heads,
            kv_heads,
            key_dim: dim,
            value_dim: dim,
            scale: 0.1,
            softcap: None,
            sinks: None,
            norm: None,
            rotation: None,
            offset: 0,
            visible: Visible::Causal(None),
        };
        group.bench_function(format!("{length} of {count}"), |b| {
            let keys = Keys::Plain(Floats::Bf16(&k), [kv_heads * count * dim, count * dim, dim]);
            let queries = (Floats::Bf16(&q), [0, heads * dim, dim]);
            let over = Over { attention: a, queries, keys, values: keys, count };
            b.iter(|| attend(Level::get(), &over, FloatsMut::Bf16(black_box(&mut out))));
        });
    }
    group.finish();
}

criterion_group!(benches, products, experts, attention);
criterion_main!(benches);
