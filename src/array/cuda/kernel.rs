//! Kernels: compiled once and kept in the cache folder, then run as operations of MLX.
//!
//! The other side is `native/cuda.cpp`, which is compiled where MLX's wheels are used, not on Apple.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};

use super::source::{Launch, Source};
use super::store;
use crate::array::device;
use crate::array::error::{check, install_handler};
use crate::array::{Array, ArrayVec, sys};
use crate::error::{Error, Result};

unsafe extern "C" {
    fn mlxe_cuda_image_new(bytes: *const c_char, size: usize) -> *mut c_void;
    fn mlxe_cuda_image_compile(result: *mut *mut c_void, source: *const c_char, architecture: *const c_char) -> c_int;
    fn mlxe_cuda_image_bytes(image: *const c_void, size: *mut usize) -> *const c_char;
    #[cfg(test)]
    fn mlxe_cuda_image_has_alias(image: *const c_void) -> bool;
    fn mlxe_cuda_image_free(image: *mut c_void);
    fn mlxe_cuda_run(
        result: *mut sys::mlx_vector_array,
        image: *const c_void,
        loaded: bool,
        name: *const c_char,
        inputs: *const sys::mlx_array,
        n_inputs: usize,
        shapes: *const i32,
        ranks: *const usize,
        dtypes: *const sys::mlx_dtype,
        n_outputs: usize,
        scalars: *const i32,
        n_scalars: usize,
        blocks: *const i32,
        threads: i32,
        stream: sys::mlx_stream,
    ) -> c_int;
}

/// Machine code.
struct Image(*mut c_void);

impl Image {
    fn new(bytes: &[u8]) -> Image {
        // SAFETY: the slice is copied.
        Image(unsafe { mlxe_cuda_image_new(bytes.as_ptr().cast(), bytes.len()) })
    }

    fn compile(source: &CStr, architecture: &CStr) -> Result<Image> {
        install_handler();
        let mut image = std::ptr::null_mut();
        // SAFETY: both strings are valid for the call, and the result is written only on success.
        let rc = unsafe { mlxe_cuda_image_compile(&mut image, source.as_ptr(), architecture.as_ptr()) };
        check(rc, "CUDA kernel")?;
        Ok(Image(image))
    }

    fn bytes(&self) -> &[u8] {
        let mut size = 0;
        // SAFETY: the image lives as long as `self` and never changes.
        unsafe {
            let data = mlxe_cuda_image_bytes(self.0, &mut size);
            std::slice::from_raw_parts(data.cast(), size)
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: `self` owns it.
        unsafe { mlxe_cuda_image_free(self.0) };
    }
}

/// A kernel for this machine's GPU.
pub struct Kernel {
    image: Image,
    name: CString,
    state: RefCell<State>,
}

/// Whether MLX has the code.
enum State {
    New,
    /// A result of the first use: once it is there, so is the code.
    Used(Array),
    Loaded,
}

impl Kernel {
    /// Compiles it, or finds it compiled.
    pub fn new(source: &Source) -> Result<Kernel> {
        let (text, architecture) = (source.text(), architecture()?);
        let name = c_text(source.name)?;
        let kept = store::folder().map(|folder| folder.join(store::file_name(&text, &architecture)));
        if let Some(code) = kept.as_deref().and_then(|path| store::read(path, &text)) {
            return Ok(Kernel { image: Image::new(&code), name, state: RefCell::new(State::New) });
        }
        let image = Image::compile(&c_text(&text)?, &c_text(&architecture)?)?;
        if let Some(path) = kept
            && let Err(e) = store::write(&path, &text, image.bytes())
        {
            log::debug!("{}: a compiled kernel is not kept: {e}", path.display());
        }
        Ok(Kernel { image, name, state: RefCell::new(State::New) })
    }

    /// Whether there is a compiler.
    #[cfg(test)]
    pub fn can_compile() -> bool {
        Image::compile(c"", c"sm_80").is_ok()
    }

    #[cfg(test)]
    pub fn compiled(source: &Source, architecture: &str) -> Result<Kernel> {
        let image = Image::compile(&c_text(&source.text())?, &c_text(architecture)?)?;
        Ok(Kernel { image, name: c_text(source.name)?, state: RefCell::new(State::New) })
    }

    /// Lazy results.
    #[track_caller]
    pub fn run(&self, inputs: &[&Array], launch: &Launch) -> Result<Vec<Array>> {
        let raw: Vec<sys::mlx_array> = inputs.iter().map(|a| a.raw).collect();
        let shapes: Vec<i32> = launch.outputs.iter().flat_map(|(shape, _)| shape.iter().copied()).collect();
        let ranks: Vec<usize> = launch.outputs.iter().map(|(shape, _)| shape.len()).collect();
        let dtypes: Vec<sys::mlx_dtype> = launch.outputs.iter().map(|(_, dtype)| dtype.raw()).collect();
        let blocks = launch.blocks.map(|n| n as i32);
        let mut out = ArrayVec::empty();
        // SAFETY: all slices and handles are valid for the call.
        let rc = unsafe {
            mlxe_cuda_run(
                &mut out.raw,
                self.image.0,
                self.is_loaded(),
                self.name.as_ptr(),
                raw.as_ptr(),
                raw.len(),
                shapes.as_ptr(),
                ranks.as_ptr(),
                dtypes.as_ptr(),
                ranks.len(),
                launch.scalars.as_ptr(),
                launch.scalars.len(),
                blocks.as_ptr(),
                launch.threads as i32,
                device::stream(),
            )
        };
        check(rc, "CUDA kernel")?;
        let results = out.into_vec()?;
        let mut state = self.state.borrow_mut();
        if let (State::New, Some(first)) = (&*state, results.first()) {
            *state = State::Used(first.clone());
        }
        Ok(results)
    }

    fn is_loaded(&self) -> bool {
        let mut state = self.state.borrow_mut();
        if let State::Used(first) = &*state
            && first.is_available()
        {
            *state = State::Loaded;
        }
        matches!(*state, State::Loaded)
    }
}

fn c_text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::internal("a kernel's text has a NUL"))
}

/// The first GPU's compute capability: 90 is 9.0.
pub fn generation() -> Option<u32> {
    architecture().ok()?.strip_prefix("sm_")?.trim_end_matches(char::is_alphabetic).parse().ok()
}

/// What the first GPU is, as NVRTC calls it: `sm_90`.
fn architecture() -> Result<String> {
    // SAFETY: the handles are made here and freed; the text is copied while they live.
    unsafe {
        let gpu = sys::mlx_device_new_type(sys::mlx_device_type__MLX_GPU, 0);
        let mut info = sys::mlx_device_info_new();
        let mut text: *const c_char = std::ptr::null();
        let rc = sys::mlx_device_info_get(&mut info, gpu)
            | sys::mlx_device_info_get_string(&mut text, info, c"architecture".as_ptr());
        let known = (rc == 0 && !text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
        sys::mlx_device_info_free(info);
        sys::mlx_device_free(gpu);
        known.ok_or_else(|| Error::mlx("MLX does not say what GPU this is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MLX finds a kernel's code by its hash, and `same_hash` in native/cuda.cpp knows how one standard library makes
    /// hashes. With another one kernels still run, but each use costs the host microseconds more: this says so.
    #[test]
    fn code_has_a_short_name_of_the_same_hash() {
        for size in [9, 100, 30_001] {
            let code: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
            // SAFETY: the image lives for the call.
            assert!(
                unsafe { mlxe_cuda_image_has_alias(Image::new(&code).0) },
                "std::hash is another one: {size} bytes have no short name"
            );
        }
    }
}
