//! Versions.

use std::ffi::c_char;

/// Major version of the library that this header belongs to.
pub const MLXE_VERSION_MAJOR: i32 = 0;
/// Minor version.
pub const MLXE_VERSION_MINOR: i32 = 1;
/// Patch version.
pub const MLXE_VERSION_PATCH: i32 = 0;
/// Version of the binary interface that this header describes. A library with a different version must not be used with
/// it.
pub const MLXE_ABI_VERSION: i32 = 1;

/// The version of the binary interface of the loaded library; compare it with MLXE_ABI_VERSION.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_abi_version() -> i32 {
    MLXE_ABI_VERSION
}

/// The version of the loaded library, e.g. "0.1.0". Static; do not free.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The version of MLX that the library was built for, e.g. "0.32.2". Static; do not free.
///
/// Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn mlxe_mlx_version() -> *const c_char {
    const TEXT: &str = concat!("0.32.2", "\0");
    TEXT.as_ptr().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_agree_with_the_manifest() {
        let here = format!("{MLXE_VERSION_MAJOR}.{MLXE_VERSION_MINOR}.{MLXE_VERSION_PATCH}");
        assert_eq!(here, env!("CARGO_PKG_VERSION"));
        // SAFETY: static strings with a NUL.
        let text = |p| unsafe { std::ffi::CStr::from_ptr(p) }.to_str().unwrap();
        assert_eq!(text(mlxe_version()), here);
        assert_eq!(text(mlxe_mlx_version()), crate::array::MLX_VERSION);
    }
}
