//! A mixture of experts: routing, the experts' gated layers, and the weighted sum of their results.
//!
//! Rows of the input are gathered by expert, so that an expert's weights are read once for all rows that use it. Tasks are
//! blocks of one expert's inner features, then blocks of the result's features over all experts: decoding one row keeps
//! every thread at work, and nobody writes where another does.

use std::sync::OnceLock;

use super::activation::{self, Act};
use super::blocking::block_rows;
use super::epilogue::{add_bias, add_residual};
use super::floats::{Bf16, F16, Floats, FloatsMut, Kind, Target};
use super::input::Input;
use super::level::{Level, fma, multiversion};
use super::math::exp;
use super::matrix::Part;
use super::pool;
use super::scratch::with_scratch;
use super::tile;

/// Gated layers, stacked: the rows of expert `e` come after those of expert `e - 1`.
#[derive(Clone, Copy, Debug)]
pub struct Experts<'a> {
    /// How many there are.
    pub count: usize,
    /// From features to inner features.
    pub gate: Part<'a>,
    /// Like `gate`.
    pub up: Part<'a>,
    /// From inner features to features.
    pub down: Part<'a>,
    /// `down(act(gate(x)) * up(x))`
    pub act: Act,
}

/// Which experts rows of the input use.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// `rows x experts`
    pub logits: Floats<'a>,
    /// Experts a row: those with the largest logits, of equals the first.
    pub chosen: usize,
    /// Makes weights of logits.
    pub softmax: RouterSoftmax,
}

/// Over which logits of a router the softmax goes whose values are the weights of the chosen experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterSoftmax {
    /// Those of all experts.
    All,
    /// Those of the chosen ones. The same as all, divided by the sum of the chosen.
    Chosen,
}

/// One row of the input that an expert works on, and the weight of what comes out.
#[derive(Clone, Copy)]
struct Use {
    expert: usize,
    row: usize,
    weight: f32,
}

impl Routing<'_> {
    /// All uses, sorted by expert.
    fn uses(&self, level: Level, count: usize) -> Vec<Use> {
        let rows = self.logits.len() / count;
        let mut uses = Vec::with_capacity(rows * self.chosen);
        let mut logits = vec![0.0; count];
        let mut order: Vec<usize> = Vec::with_capacity(count);
        for row in 0..rows {
            self.logits.slice(row * count, count).read(level, &mut logits);
            order.clear();
            order.extend(0..count);
            if self.chosen < count {
                order.select_nth_unstable_by(self.chosen, |&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
            }
            let most = logits.iter().fold(f32::MIN, |most, &v| most.max(v));
            logits.iter_mut().for_each(|v| *v = exp::<false>(*v - most));
            let chosen = &order[..self.chosen];
            let sum: f32 = match self.softmax {
                RouterSoftmax::All => logits.iter().sum(),
                RouterSoftmax::Chosen => chosen.iter().map(|&e| logits[e]).sum(),
            };
            uses.extend(chosen.iter().map(|&expert| Use { expert, row, weight: logits[expert] / sum }));
        }
        // Stable: the rows of an expert stay in order.
        uses.sort_by_key(|u| u.expert);
        uses
    }
}

/// Computes `out = residual + factor * sum over chosen experts of weight * expert(x)`. `x` has `m` rows, and so has the
/// result.
///
/// # Panics
/// If sizes do not fit each other.
pub fn mix(
    level: Level,
    x: Floats<'_>,
    m: usize,
    experts: &Experts<'_>,
    routing: &Routing<'_>,
    onto: Option<(Floats<'_>, f32)>,
    out: FloatsMut<'_>,
) {
    let Experts { count, gate, up, down, act } = *experts;
    let (features, inner) = (gate.weight.columns, down.weight.columns);
    for (part, rows, columns) in [(&gate, inner, features), (&up, inner, features), (&down, features, inner)] {
        part.weight.check();
        assert!(part.weight.rows == count * rows && part.weight.columns == columns, "experts");
        assert!(part.bias.is_none_or(|b| b.len() == count * rows), "biases");
    }
    assert!(routing.logits.len() == m * count && (1..=count).contains(&routing.chosen), "routing");
    assert!(x.len() == m * features && out.len() == m * features, "input and result");
    assert!(onto.is_none_or(|(residual, _)| residual.len() == m * features), "residual");
    if m == 0 {
        return;
    }
    let uses = routing.uses(level, count);
    let groups: Vec<&[Use]> = uses.chunk_by(|a, b| a.expert == b.expert).collect();
    let small = uses.len() * features * inner < 1 << 16;
    let threads = if small { 1 } else { pool::threads() };
    let run = |tasks: usize, body: &(dyn Fn(usize) + Sync)| match small {
        true => (0..tasks).for_each(body),
        false => pool::run(tasks, body),
    };
    // Where each group's rows are among all uses.
    let starts: Vec<usize> = groups
        .iter()
        .scan(0, |at, group| {
            *at += group.len();
            Some(*at - group.len())
        })
        .collect();

    // Inner features: a task is a block of them, of one expert. A single row is the same input for all.
    let rows = if m == 1 { None } else { Some(gathered(x, features, &uses, &run)) };
    let inputs = match &rows {
        None => vec![Input::new(level, x, 1, &[gate, up], false)],
        Some(rows) => prepared(level, rows.floats(), features, &groups, &starts, &[gate, up], &run),
    };
    let mut hidden = Numbers::zeros(x.kind(), uses.len() * inner);
    let target = Target::new(hidden.floats_mut());
    let block = block_rows(uses.len().div_ceil(groups.len()), groups.len() * inner, threads).min(inner);
    let blocks = inner.div_ceil(block);
    run(groups.len() * blocks, &|task| {
        let (i, from) = (task / blocks, task % blocks * block);
        let (len, n) = (groups[i].len(), block.min(inner - from));
        with_scratch(2 * len * n, |scratch| {
            let (first, second) = scratch.split_at_mut(len * n);
            let at = groups[i][0].expert * inner + from;
            compute(level, &gate, at, n, &inputs[i % inputs.len()], first);
            compute(level, &up, at, n, &inputs[i % inputs.len()], second);
            activation::gate(level, act, first, second);
            for (row, values) in first.chunks_exact(n).enumerate() {
                // SAFETY: each task has its own block of columns of its group's rows.
                unsafe { target.part((starts[i] + row) * inner + from, n) }.write(level, values);
            }
        });
    });

    // Results: a task is a block of features, of all experts.
    let inputs = prepared(level, hidden.floats(), inner, &groups, &starts, &[down], &run);
    let target = Target::new(out);
    let block = block_rows(m, features, threads);
    run(features.div_ceil(block), &|task| {
        let from = task * block;
        let n = block.min(features - from);
        let longest = groups.iter().map(|g| g.len()).max().unwrap_or(0);
        with_scratch((m + longest) * n, |scratch| {
            let (sums, tile) = scratch.split_at_mut(m * n);
            sums.fill(0.0);
            for (group, input) in groups.iter().zip(&inputs) {
                let tile = &mut tile[..group.len() * n];
                compute(level, &down, group[0].expert * features + from, n, input, tile);
                for (used, values) in group.iter().zip(tile.chunks_exact(n)) {
                    add_weighted(level, &mut sums[used.row * n..][..n], values, used.weight);
                }
            }
            for (row, values) in sums.chunks_exact_mut(n).enumerate() {
                if let Some((residual, factor)) = onto {
                    add_residual(level, values, residual.slice(row * features + from, n), factor);
                }
                // SAFETY: each task has its own block of columns.
                unsafe { target.part(row * features + from, n) }.write(level, values);
            }
        });
    });
}

/// Calls a body with each number below the first parameter, on one thread or many.
type Run<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// The rows of `x` in the order of their uses.
fn gathered(x: Floats<'_>, columns: usize, uses: &[Use], run: Run<'_>) -> Numbers {
    let mut rows = Numbers::zeros(x.kind(), uses.len() * columns);
    let target = Target::new(rows.floats_mut());
    run(uses.len(), &|i| {
        // SAFETY: each call has its own row.
        let row = unsafe { target.part(i * columns, columns) };
        match (x.slice(uses[i].row * columns, columns), row) {
            (Floats::F32(from), FloatsMut::F32(to)) => to.copy_from_slice(from),
            (Floats::F16(from), FloatsMut::F16(to)) => to.copy_from_slice(from),
            (Floats::Bf16(from), FloatsMut::Bf16(to)) => to.copy_from_slice(from),
            _ => unreachable!("of the same type"),
        }
    });
    rows
}

/// Each group's rows of `x`, prepared for products with `parts`.
fn prepared<'a>(
    level: Level,
    x: Floats<'a>,
    columns: usize,
    groups: &[&[Use]],
    starts: &[usize],
    parts: &[Part<'_>],
    run: Run<'_>,
) -> Vec<Input<'a>> {
    let results: Vec<OnceLock<Input>> = groups.iter().map(|_| OnceLock::new()).collect();
    run(groups.len(), &|i| {
        let (from, len) = (starts[i], groups[i].len());
        let rows = x.slice(from * columns, len * columns);
        results[i].get_or_init(|| Input::new(level, rows, len, parts, false));
    });
    results.into_iter().map(|r| r.into_inner().expect("every task ran")).collect()
}

/// A product with rows of the part's weights, and their bias.
fn compute(level: Level, part: &Part<'_>, from: usize, n: usize, input: &Input<'_>, tile: &mut [f32]) {
    tile::compute(level, &part.weight, from, n, input, tile);
    if let Some(bias) = part.bias {
        add_bias(level, tile, bias.slice(from, n));
    }
}

multiversion! {
    fn add_weighted<const FMA: bool>(sums: &mut [f32], values: &[f32], weight: f32) {
        for (s, v) in sums.iter_mut().zip(values) {
            *s = fma::<FMA>(*v, weight, *s);
        }
    }
}

/// Memory for numbers of a type.
enum Numbers {
    F32(Vec<f32>),
    F16(Vec<F16>),
    Bf16(Vec<Bf16>),
}

impl Numbers {
    fn zeros(kind: Kind, len: usize) -> Numbers {
        match kind {
            Kind::F32 => Numbers::F32(vec![0.0; len]),
            Kind::F16 => Numbers::F16(vec![F16::ZERO; len]),
            Kind::Bf16 => Numbers::Bf16(vec![Bf16::ZERO; len]),
        }
    }

    fn floats(&self) -> Floats<'_> {
        match self {
            Numbers::F32(v) => Floats::F32(v),
            Numbers::F16(v) => Floats::F16(v),
            Numbers::Bf16(v) => Floats::Bf16(v),
        }
    }

    fn floats_mut(&mut self) -> FloatsMut<'_> {
        match self {
            Numbers::F32(v) => FloatsMut::F32(v),
            Numbers::F16(v) => FloatsMut::F16(v),
            Numbers::Bf16(v) => FloatsMut::Bf16(v),
        }
    }
}
