//! The input of a product, in the forms in which kernels read it.

use super::blocking::{FEW, TILE_INPUTS};
use super::codes::Codes;
use super::floats::{Floats, Kind};
use super::level::{Level, multiversion};
use super::matrix::{Matrix, Part, Values};
use super::pool;
use super::scratch::with_scratch;

/// The input of a product.
pub(super) struct Input<'a> {
    pub m: usize,
    pub k: usize,
    /// As it came.
    pub x: Floats<'a>,
    /// In f32, `m x k`; empty where the bf16 kernels take `x` as it is.
    pub natural: Vec<f32>,
    /// In the order in which gemv unpacks codes of 2 and of 4 bits in lanes, `m` rows of whole blocks.
    pub lanes: [Vec<f32>; 2],
    /// As integers of 16 bits, for codes that are 2, 4 and 8 bits apart where gemv unpacks them.
    pub integers: [Option<Integers>; 3],
    /// Sums over groups, `m x k / group`, for groups of 32, 64 and 128.
    pub sums: [Vec<f32>; 3],
}

impl<'a> Input<'a> {
    pub fn new(level: Level, x: Floats<'a>, m: usize, parts: &[Part<'_>], parallel: bool) -> Input<'a> {
        let k = parts[0].weight.columns;
        let mut this = Input {
            m,
            k,
            x,
            natural: vec![0.0; m * k],
            lanes: Default::default(),
            integers: Default::default(),
            sums: Default::default(),
        };
        let mut lanes = [false; 2];
        // By width: whether, and with sums over groups of which sizes.
        let mut integers = [None; 3];
        for part in parts {
            let Some(q) = part.weight.grouped() else { continue };
            if q.biases.is_some() {
                this.sums[group_index(q.group)] = vec![0.0; m * (k / q.group)];
            }
            if m <= FEW && level != Level::Portable {
                if as_integers(q.codes, x.kind()) {
                    let groups: &mut [bool; 3] = integers[packing(q.codes)].get_or_insert([false; 3]);
                    if q.biases.is_some() {
                        groups[group_index(q.group)] = true;
                    }
                } else if level >= Level::Avx512 && by_table(q.codes) {
                    lanes[q.codes.bits() / 4] = true;
                }
            }
        }
        for (i, wanted) in lanes.into_iter().enumerate() {
            if wanted {
                this.lanes[i] = vec![0.0; m * k.next_multiple_of(lane_block(2 << i))];
            }
        }
        let parallel = parallel && m > TILE_INPUTS;
        this.fill(level, parallel);
        for (i, wanted) in integers.into_iter().enumerate() {
            if let Some(groups) = wanted {
                this.integers[i] = Some(Integers::new(level, &this.natural, k, 2 << i, groups, parallel));
            }
        }
        if m > FEW && parts.iter().all(|p| in_bf16(level, x.kind(), &p.weight)) {
            this.natural = Vec::new();
        }
        this
    }

    fn fill(&mut self, level: Level, parallel: bool) {
        let (k, x) = (self.k, self.x);
        let m = self.m;
        let rows = |all: &mut Vec<f32>| Rows::of(all, m);
        let natural = rows(&mut self.natural);
        let lanes = [rows(&mut self.lanes[0]), rows(&mut self.lanes[1])];
        let sums = [rows(&mut self.sums[0]), rows(&mut self.sums[1]), rows(&mut self.sums[2])];
        let body = |i: usize| {
            // SAFETY: each call has its own row.
            unsafe {
                let row = natural.get(i);
                x.slice(i * k, k).read(level, row);
                for (j, lane) in lanes.iter().enumerate().filter(|(_, l)| l.stride > 0) {
                    to_lanes(row, 2 << j, lane.get(i));
                }
                for (j, sum) in sums.iter().enumerate().filter(|(_, s)| s.stride > 0) {
                    group_sums(level, row, 32 << j, sum.get(i));
                }
            }
        };
        if parallel { pool::run(self.m, &body) } else { (0..self.m).for_each(body) }
    }
}

/// Whether many rows of inputs of this type are multiplied with the matrix in bf16: where the processor can, and where
/// bf16 holds inputs and stored values exactly.
pub(super) fn in_bf16(level: Level, x: Kind, matrix: &Matrix<'_>) -> bool {
    let exact = !matches!(matrix.values, Values::Dense(Floats::F32(_) | Floats::F16(_)));
    matches!(level, Level::Avx512Bf16 | Level::NeonBf16) && x == Kind::Bf16 && exact
}

/// Whether gemv multiplies such codes with `x` as integers of 16 bits, which lose nothing that bf16 has.
pub(super) fn as_integers(codes: Codes, x: Kind) -> bool {
    let integers = match codes {
        Codes::Integer(2 | 4 | 8) => true,
        // NEON makes bytes of them as easily.
        Codes::Integer(_) | Codes::E2m1 => cfg!(target_arch = "aarch64"),
        Codes::E4m3 => false,
    };
    integers && x == Kind::Bf16
}

/// Which of [`Input::integers`] is for such codes: those whose width does not divide a byte are unpacked to one a byte.
pub(super) fn packing(codes: Codes) -> usize {
    match codes.bits() {
        2 => 0,
        4 => 1,
        _ => 2,
    }
}

/// Whether gemv unpacks such codes in lanes, by table.
pub(super) fn by_table(codes: Codes) -> bool {
    matches!(codes.bits(), 2 | 4)
}

/// Which of the sums is for groups of this size.
pub(super) fn group_index(group: usize) -> usize {
    group.trailing_zeros() as usize - 5
}

/// Codes that gemv unpacks from one register of 512 bits.
pub(super) fn lane_block(bits: usize) -> usize {
    512 / bits
}

/// Rows of `x` as integers of 16 bits with a scale for each block, the upper and the lower byte apart, in the order in
/// which gemv unpacks codes: byte `b` of 64 in step `j` of a block is for code `b * 8 / bits + j`.
pub(super) struct Integers {
    rows: usize,
    /// `[rows][blocks][upper, lower][steps][64]`
    pub bytes: Vec<i8>,
    /// `[rows][blocks]`
    pub scales: Vec<f32>,
    /// As in [`Input`], of the rounded numbers: their errors then weigh as much as the weights, not as the codes.
    pub sums: [Vec<f32>; 3],
}

impl Integers {
    /// `groups` says for which sizes of groups (32, 64, 128) sums are wanted.
    fn new(level: Level, x: &[f32], k: usize, bits: usize, groups: [bool; 3], parallel: bool) -> Integers {
        let (block, steps) = (lane_block(bits), 8 / bits);
        let blocks = k.div_ceil(block);
        let m = x.len() / k;
        let mut sums: [Vec<f32>; 3] = Default::default();
        for (i, sums) in sums.iter_mut().enumerate().filter(|(i, _)| groups[*i]) {
            *sums = vec![0.0; m * (k / (32 << i))];
        }
        let mut this =
            Integers { rows: m, bytes: vec![0; m * blocks * 2 * block], scales: vec![0.0; m * blocks], sums };
        let (bytes, scales) = (Rows::of(&mut this.bytes, m), Rows::of(&mut this.scales, m));
        let sums = this.sums.each_mut().map(|sums| Rows::of(sums, m));
        let body = |r: usize| {
            // SAFETY: each call has its own row.
            let (bytes, scales) = unsafe { (bytes.get(r), scales.get(r)) };
            with_scratch(k, |rounded| {
                let input = x[r * k..(r + 1) * k].chunks(block).zip(rounded.chunks_mut(block));
                for (((values, rounded), bytes), scale) in input.zip(bytes.chunks_exact_mut(2 * block)).zip(scales) {
                    // The lower byte is rounded to -128..=127, so the upper one may be one more than a half.
                    *scale = largest_magnitude(level, values) / 32_000.0;
                    let (upper, lower) = bytes.split_at_mut(block);
                    match steps {
                        1 => to_bytes_1(level, values, *scale, rounded, upper, lower),
                        2 => to_bytes_2(level, values, *scale, rounded, upper, lower),
                        _ => to_bytes_4(level, values, *scale, rounded, upper, lower),
                    }
                }
                for (i, sums) in sums.iter().enumerate().filter(|(_, s)| s.stride > 0) {
                    // SAFETY: as above.
                    group_sums(level, rounded, 32 << i, unsafe { sums.get(r) });
                }
            });
        };
        if parallel {
            pool::run(m, &body)
        } else {
            (0..m).for_each(body)
        }
        this
    }

    /// Bytes and scales of the rows from this one on.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub fn from(&self, row: usize) -> (*const i8, *const f32) {
        let blocks = self.scales.len() / self.rows;
        (self.bytes[row * (self.bytes.len() / self.rows)..].as_ptr(), self.scales[row * blocks..].as_ptr())
    }
}

macro_rules! to_bytes {
    ($name:ident, $steps:literal) => {
        multiversion! {
            /// One block of at most `64 * $steps` numbers.
            fn $name<const FMA: bool>(values: &[f32], scale: f32, rounded: &mut [f32], upper: &mut [i8], lower: &mut [i8]) {
                let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                let mut integers = [0i16; 64 * $steps];
                for ((n, v), rounded) in integers.iter_mut().zip(values).zip(rounded) {
                    let whole = (v * inverse).round_ties_even();
                    *rounded = whole * scale;
                    *n = whole as i32 as i16;
                }
                for j in 0..$steps {
                    for b in 0..64 {
                        let n = integers[b * $steps + j];
                        lower[j * 64 + b] = n as i8;
                        // What is left when the signed lower byte is taken away.
                        upper[j * 64 + b] = (n.wrapping_add(128) >> 8) as i8;
                    }
                }
            }
        }
    };
}
to_bytes!(to_bytes_1, 1);
to_bytes!(to_bytes_2, 2);
to_bytes!(to_bytes_4, 4);

/// Codes come as words of 32 bits in 16 lanes: in step `j` lane `l` shows code `l * 32 / bits + j` of its block.
fn to_lanes(row: &[f32], bits: usize, out: &mut [f32]) {
    let (block, steps) = (lane_block(bits), 32 / bits);
    let whole = row.len() / block;
    for (from, to) in row.chunks_exact(block).zip(out.chunks_exact_mut(block)) {
        for (l, codes) in from.chunks_exact(steps).enumerate() {
            for (j, v) in codes.iter().enumerate() {
                to[j * 16 + l] = *v;
            }
        }
    }
    let rest = &row[whole * block..];
    if !rest.is_empty() {
        let to = &mut out[whole * block..];
        to.fill(0.0);
        for (i, v) in rest.iter().enumerate() {
            to[i % steps * 16 + i / steps] = *v;
        }
    }
}

multiversion! {
    fn largest_magnitude<const FMA: bool>(values: &[f32]) -> f32 {
        let mut most = [0.0f32; 16];
        let (whole, rest) = values.as_chunks::<16>();
        for chunk in whole {
            for i in 0..16 {
                let v = chunk[i].abs();
                most[i] = if v > most[i] { v } else { most[i] };
            }
        }
        most.iter().chain(rest).fold(0.0, |a, b| a.max(b.abs()))
    }
}

multiversion! {
    fn group_sums<const FMA: bool>(row: &[f32], group: usize, out: &mut [f32]) {
        for (values, o) in row.chunks_exact(group).zip(out) {
            let mut sums = [0.0f32; 16];
            for v in values.chunks_exact(16) {
                for i in 0..16 {
                    sums[i] += v[i];
                }
            }
            *o = sums.iter().sum();
        }
    }
}

/// Rows that different threads fill.
struct Rows<T> {
    data: *mut T,
    stride: usize,
}

// SAFETY: each thread takes its own rows.
unsafe impl<T: Send> Sync for Rows<T> {}

impl<T> Rows<T> {
    /// All of `rows` rows.
    fn of(all: &mut [T], rows: usize) -> Rows<T> {
        Rows { data: all.as_mut_ptr(), stride: all.len() / rows }
    }

    /// # Safety
    /// Nobody else uses the row, and it is within the buffer.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, row: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride), self.stride) }
    }
}
