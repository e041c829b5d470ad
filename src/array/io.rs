//! Weight files, counted byte by byte while they are read.
//!
//! Where a file cannot be [mapped](super::mapping) the bytes are read straight into MLX's memory. MLX opens a safetensors
//! file lazily: an array knows its place in the file, and the bytes are read when it is computed, by a worker thread of
//! MLX. We give it a reader of our own, which counts what it has read, reads large tensors on several threads, and stops
//! reading the moment the load is cancelled.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::device::cpu_stream;
use super::error::check;
use super::{Array, Out, sys};
use crate::error::{Error, Result};
use crate::threads::without_signals;

/// Bytes read between two looks at the cancel flag.
pub(super) const CHUNK: usize = 4 << 20;

/// The smallest page of any system.
pub(super) const PAGE: usize = 4096;

/// Tensors of at least this size are read by several threads.
const PARALLEL: usize = 16 << 20;

/// What a load and its readers share: how much was read, whether to stop, what went wrong.
#[derive(Default)]
pub struct ReadProgress {
    bytes: AtomicU64,
    cancelled: Arc<AtomicBool>,
    failure: Mutex<Option<Error>>,
    moved: Condvar,
    moved_lock: Mutex<()>,
}

impl ReadProgress {
    /// Progress that stops all reading when `cancelled` becomes true.
    pub fn new(cancelled: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(ReadProgress { cancelled, ..Default::default() })
    }

    /// Bytes of tensor data read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Waits until the count differs from `seen`, something failed, or the time is over. Returns the count.
    pub fn wait_beyond(&self, seen: u64, at_most: Duration) -> u64 {
        let mut guard = self.moved_lock.lock();
        if self.bytes() == seen && self.failure.lock().is_none() {
            self.moved.wait_for(&mut guard, at_most);
        }
        self.bytes()
    }

    /// Fails with what stopped the reading, if anything did. Arrays read until then are unusable.
    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Acquire) {
            return Err(Error::cancelled());
        }
        match &*self.failure.lock() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        let _guard = self.moved_lock.lock();
        self.moved.notify_all();
    }

    fn fail(&self, error: Error) {
        self.failure.lock().get_or_insert(error);
        let _guard = self.moved_lock.lock();
        self.moved.notify_all();
    }

    fn stopped(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) || self.failure.lock().is_some()
    }
}

/// The descriptor behind mlx-c's reader.
struct Reader {
    file: File,
    /// The length field and the header, read once; MLX parses these bytes and no others.
    header: Vec<u8>,
    position: AtomicU64,
    length: u64,
    progress: Arc<ReadProgress>,
    label: CString,
}

impl Reader {
    /// Fills `out` from `offset`. What cannot be read is left as it is and the failure noted: MLX would let an
    /// exception end up in the array, where it is reported only once.
    fn read_data(&self, out: &mut [u8], offset: u64) {
        let threads = match out.len() {
            n if n >= PARALLEL => std::thread::available_parallelism().map_or(1, |n| n.get()).min(4),
            _ => 1,
        };
        if threads == 1 {
            return self.read_range(out, offset);
        }
        let part = out.len().div_ceil(threads);
        std::thread::scope(|scope| {
            for (i, piece) in out.chunks_mut(part).enumerate() {
                without_signals(|| scope.spawn(move || self.read_range(piece, offset + (i * part) as u64)));
            }
        });
    }

    fn read_range(&self, out: &mut [u8], offset: u64) {
        let mut at = offset;
        for chunk in out.chunks_mut(CHUNK) {
            if self.progress.stopped() {
                return;
            }
            populate(chunk);
            if let Err(e) = self.file.read_exact_at(chunk, at) {
                return self.progress.fail(Error::io(self.label.to_string_lossy().as_ref(), e));
            }
            at += chunk.len() as u64;
            self.progress.add(chunk.len());
        }
    }
}

/// Asks the system for the pages of memory that was never touched all at once: a fault for each of them costs about as
/// much as copying its part of the file. Only a wish; where it is not granted the faults come one by one.
fn populate(memory: &mut [u8]) {
    #[cfg(target_os = "linux")]
    {
        let start = (memory.as_ptr() as usize).next_multiple_of(PAGE);
        let end = (memory.as_ptr() as usize + memory.len()) / PAGE * PAGE;
        if end > start {
            // SAFETY: the range lies within memory that is ours to write, and the advice changes no contents.
            unsafe { libc::madvise(start as *mut c_void, end - start, libc::MADV_POPULATE_WRITE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// # Safety
/// `desc` is the `Reader` given to `mlx_io_reader_new` and not freed yet.
unsafe fn reader<'a>(desc: *mut c_void) -> &'a Reader {
    // SAFETY: the caller's promise; all fields allow shared use.
    unsafe { &*desc.cast::<Reader>() }
}

unsafe extern "C" fn yes(_: *mut c_void) -> bool {
    true
}

unsafe extern "C" fn tell(desc: *mut c_void) -> usize {
    unsafe { reader(desc) }.position.load(Ordering::Relaxed) as usize
}

unsafe extern "C" fn seek(desc: *mut c_void, offset: i64, whence: c_int) -> c_int {
    let this = unsafe { reader(desc) };
    let base = match whence {
        libc::SEEK_SET => 0,
        libc::SEEK_CUR => this.position.load(Ordering::Relaxed) as i64,
        _ => this.length as i64,
    };
    match base.checked_add(offset) {
        Some(position) if position >= 0 => {
            this.position.store(position as u64, Ordering::Relaxed);
            0
        }
        _ => -1,
    }
}

unsafe extern "C" fn read(desc: *mut c_void, data: *mut c_char, n: usize) -> usize {
    let this = unsafe { reader(desc) };
    let from = this.position.load(Ordering::Relaxed) as usize;
    let piece = this.header.get(from..from.saturating_add(n).min(this.header.len())).unwrap_or(&[]);
    // SAFETY: MLX passes room for n bytes.
    unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), data.cast(), piece.len()) };
    this.position.store((from + piece.len()) as u64, Ordering::Relaxed);
    piece.len()
}

unsafe extern "C" fn read_at_offset(desc: *mut c_void, data: *mut c_char, n: usize, offset: usize) -> usize {
    let this = unsafe { reader(desc) };
    // SAFETY: MLX passes room for n bytes that nobody else uses. Zeroing first would double the work; the bytes are
    // only ever written here, and arrays of a failed read are dropped unread.
    let out = unsafe { std::slice::from_raw_parts_mut(data.cast::<u8>(), n) };
    this.read_data(out, offset as u64);
    n
}

unsafe extern "C" fn no_write(_: *mut c_void, _: *const c_char, _: usize) -> usize {
    0
}

unsafe extern "C" fn label(desc: *mut c_void) -> *const c_char {
    unsafe { reader(desc) }.label.as_ptr()
}

unsafe extern "C" fn free(desc: *mut c_void) {
    // SAFETY: MLX calls this once, when the last array of the file is gone.
    drop(unsafe { Box::from_raw(desc.cast::<Reader>()) });
}

/// Opens a safetensors file whose header has been read and validated by the caller.
///
/// `header` is the file's first `8 + n` bytes. The arrays are lazy; computing them reads the file, and
/// [`ReadProgress::check`] must be asked afterwards whether that went well.
pub fn open_safetensors(
    file: File,
    name: &str,
    header: Vec<u8>,
    progress: Arc<ReadProgress>,
) -> Result<HashMap<String, Array>> {
    super::error::install_handler();
    let length = file.metadata().map_err(|e| Error::io(name, e))?.len();
    // MLX passes labels through printf-style formatting.
    let label_text = name.replace(['%', '\0'], "_");
    let desc = Box::new(Reader {
        file,
        header,
        position: AtomicU64::new(0),
        length,
        progress,
        label: CString::new(label_text).expect("no NUL is left"),
    });
    let vtable = sys::mlx_io_vtable {
        is_open: Some(yes),
        good: Some(yes),
        tell: Some(tell),
        seek: Some(seek),
        read: Some(read),
        read_at_offset: Some(read_at_offset),
        write: Some(no_write),
        label: Some(label),
        free: Some(free),
    };
    // SAFETY: the descriptor matches the table and is given away; the maps are freed below; the iterator's strings are
    // copied before the map goes.
    unsafe {
        let io = sys::mlx_io_reader_new(Box::into_raw(desc).cast(), vtable);
        if io.ctx.is_null() {
            return Err(super::error::take("io_reader"));
        }
        let mut arrays = sys::mlx_map_string_to_array_new();
        let mut metadata = sys::mlx_map_string_to_string_new();
        let rc = sys::mlx_load_safetensors_reader(&mut arrays, &mut metadata, io, cpu_stream());
        sys::mlx_io_reader_free(io);
        sys::mlx_map_string_to_string_free(metadata);
        let result = check(rc, "load_safetensors").and_then(|()| {
            let mut found = HashMap::new();
            let iterator = sys::mlx_map_string_to_array_iterator_new(arrays);
            loop {
                let mut key: *const c_char = std::ptr::null();
                let mut out = Out::new();
                if sys::mlx_map_string_to_array_iterator_next(&mut key, out.as_mut(), iterator) != 0 {
                    break;
                }
                found.insert(CStr::from_ptr(key).to_string_lossy().into_owned(), out.finish(0, "iterate")?);
            }
            sys::mlx_map_string_to_array_iterator_free(iterator);
            Ok(found)
        });
        sys::mlx_map_string_to_array_free(arrays);
        result
    }
}
