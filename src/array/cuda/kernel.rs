//! Kernels: compiled once and kept in the cache folder, then run as operations of MLX.
//!
//! The other side is `native/cuda.cpp`, which is compiled where MLX's wheels are used, not on Apple.

use crate::array::{Array, Dtype};
use crate::error::Result;

/// The parts of a kernel's text.
pub struct Source<'a> {
    /// Its name in C.
    pub name: &'a str,
    /// What `T` is.
    pub dtype: Dtype,
    /// Type and name of each input, then of each output.
    pub inputs: &'a [(&'a str, String)],
    pub outputs: &'a [(&'a str, String)],
    /// Names of the integers that follow.
    pub scalars: &'a [String],
    /// What stands before it.
    pub header: &'a str,
    pub body: &'a str,
}

/// How a kernel is run.
pub struct Launch<'a> {
    pub outputs: &'a [(&'a [i32], Dtype)],
    pub scalars: &'a [i32],
    pub blocks: [usize; 3],
    pub threads: usize,
}

impl Source<'_> {
    #[cfg_attr(target_vendor = "apple", allow(dead_code))]
    fn text(&self) -> String {
        let name = if self.dtype == Dtype::F16 { "f16" } else { "bf16" };
        let inputs = self.inputs.iter().map(|(t, name)| format!("const {t}* {name}"));
        let outputs = self.outputs.iter().map(|(t, name)| format!("{t}* {name}"));
        let scalars = self.scalars.iter().map(|name| format!("int {name}"));
        let parameters = inputs.chain(outputs).chain(scalars).collect::<Vec<_>>().join(", ");
        let types = include_str!("types.cu");
        format!(
            "{types}\nusing T = {name};\n{}\nextern \"C\" __global__ void {}({parameters}) {{\n{}\n}}\n",
            self.header, self.name, self.body
        )
    }
}

#[cfg(target_vendor = "apple")]
mod native {
    use super::*;
    use crate::error::Error;

    pub fn generation() -> Option<u32> {
        None
    }

    /// There are none here.
    pub enum Kernel {}

    impl Kernel {
        pub fn new(_: &Source) -> Result<Kernel> {
            Err(Error::internal("kernels for CUDA are not part of this build"))
        }

        #[cfg(test)]
        pub fn can_compile() -> bool {
            false
        }

        #[cfg(test)]
        pub fn compiled(source: &Source, _: &str) -> Result<Kernel> {
            Kernel::new(source)
        }

        pub fn run(&self, _: &[&Array], _: &Launch) -> Result<Vec<Array>> {
            match *self {}
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
mod native {
    use std::cell::RefCell;
    use std::ffi::{CStr, CString, c_char, c_int, c_void};
    use std::fs;
    use std::io::Read;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::array::device;
    use crate::array::error::{check, install_handler};
    use crate::array::{ArrayVec, MLX_VERSION, sys};
    use crate::error::Error;

    unsafe extern "C" {
        fn mlxe_cuda_image_new(bytes: *const c_char, size: usize) -> *mut c_void;
        fn mlxe_cuda_image_compile(
            result: *mut *mut c_void,
            source: *const c_char,
            architecture: *const c_char,
        ) -> c_int;
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
            let kept = folder().map(|folder| folder.join(file_name(&text, &architecture)));
            if let Some(image) = kept.as_deref().and_then(|path| read(path, &text)) {
                return Ok(Kernel { image, name, state: RefCell::new(State::New) });
            }
            let image = Image::compile(&c_text(&text)?, &c_text(&architecture)?)?;
            if let Some(path) = kept
                && let Err(e) = write(&path, &text, image.bytes())
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

    /// Where compiled kernels are kept: the user's cache, as the build has it for MLX.
    fn folder() -> Option<PathBuf> {
        crate::env::engine_cache().map(|d| d.join("cuda"))
    }

    /// FNV-1a of what decides about the code; the file has the source itself.
    fn file_name(source: &str, architecture: &str) -> String {
        let bytes = source.bytes().chain(MLX_VERSION.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        format!("{architecture}-{hash:016x}")
    }

    /// Much more than a kernel has.
    const MAX_FILE: u64 = 4 << 20;

    /// A file has its source, a NUL, and the code.
    fn read(path: &Path, source: &str) -> Option<Image> {
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
        let code = bytes.strip_prefix(source.as_bytes())?.strip_prefix(b"\0")?;
        (!code.is_empty()).then(|| Image::new(code))
    }

    fn write(path: &Path, source: &str, code: &[u8]) -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
        let done = fs::write(&unfinished, [source.as_bytes(), b"\0", code].concat())
            .and_then(|()| fs::rename(&unfinished, path));
        if done.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        done
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// Otherwise kernels still run, but cost the host more.
        #[test]
        fn code_has_a_short_name_of_the_same_hash() {
            for size in [9, 100, 30_001] {
                let code: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
                // SAFETY: the image lives for the call.
                assert!(unsafe { mlxe_cuda_image_has_alias(Image::new(&code).0) }, "{size} bytes");
            }
        }
    }
}

pub use native::{Kernel, generation};
