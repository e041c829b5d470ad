//! Kernels in AVX2 intrinsics: gemv over dense weights, over codes of 2, 4 and 8 bits with inputs as integers of 16 bits,
//! and over codes that are made into f32 eight at a time. Other kernels are portable code, compiled for AVX2.

mod codes;
mod gemv;
mod gemv_dense;
mod gemv_quantized;
mod register_tile;
mod vector;

pub(super) use gemv::gemv;
