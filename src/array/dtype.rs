//! Element types.

use super::sys;

/// The type of an array's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    Bool,
    U8,
    U16,
    U32,
    U64,
    I8,
    I16,
    I32,
    I64,
    F16,
    F32,
    F64,
    Bf16,
    Complex64,
}

/// Pairs of our names and mlx-c's, in one place for both directions.
macro_rules! table {
    ($($ours:ident = $theirs:ident),+ $(,)?) => {
        impl Dtype {
            pub(super) fn raw(self) -> sys::mlx_dtype {
                match self {
                    $(Dtype::$ours => sys::$theirs,)+
                }
            }

            pub(super) fn from_raw(raw: sys::mlx_dtype) -> Dtype {
                $(if raw == sys::$theirs { return Dtype::$ours; })+
                unreachable!("MLX has no such dtype: {raw}")
            }
        }
    };
}

table! {
    Bool = mlx_dtype__MLX_BOOL,
    U8 = mlx_dtype__MLX_UINT8,
    U16 = mlx_dtype__MLX_UINT16,
    U32 = mlx_dtype__MLX_UINT32,
    U64 = mlx_dtype__MLX_UINT64,
    I8 = mlx_dtype__MLX_INT8,
    I16 = mlx_dtype__MLX_INT16,
    I32 = mlx_dtype__MLX_INT32,
    I64 = mlx_dtype__MLX_INT64,
    F16 = mlx_dtype__MLX_FLOAT16,
    F32 = mlx_dtype__MLX_FLOAT32,
    F64 = mlx_dtype__MLX_FLOAT64,
    Bf16 = mlx_dtype__MLX_BFLOAT16,
    Complex64 = mlx_dtype__MLX_COMPLEX64,
}

impl Dtype {
    /// Whether this is a real floating-point type.
    pub fn is_float(self) -> bool {
        matches!(self, Dtype::F16 | Dtype::F32 | Dtype::F64 | Dtype::Bf16)
    }

    /// The size of one element in bytes.
    pub fn size(self) -> usize {
        match self {
            Dtype::Bool | Dtype::U8 | Dtype::I8 => 1,
            Dtype::U16 | Dtype::I16 | Dtype::F16 | Dtype::Bf16 => 2,
            Dtype::U32 | Dtype::I32 | Dtype::F32 => 4,
            Dtype::U64 | Dtype::I64 | Dtype::F64 | Dtype::Complex64 => 8,
        }
    }

    /// The usual short name: `f32`, `bf16`, `u32`, ...
    pub fn name(self) -> &'static str {
        match self {
            Dtype::Bool => "bool",
            Dtype::U8 => "u8",
            Dtype::U16 => "u16",
            Dtype::U32 => "u32",
            Dtype::U64 => "u64",
            Dtype::I8 => "i8",
            Dtype::I16 => "i16",
            Dtype::I32 => "i32",
            Dtype::I64 => "i64",
            Dtype::F16 => "f16",
            Dtype::F32 => "f32",
            Dtype::F64 => "f64",
            Dtype::Bf16 => "bf16",
            Dtype::Complex64 => "complex64",
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
