//! Weight files mapped into memory: arrays over the pages of a file, nothing copied.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::io::{CHUNK, PAGE, ReadProgress};
use super::{Array, Dtype, host};
use crate::error::{Error, Result};

/// Bytes of weight files that are mapped, now and at most since the last [`reset_mapped_peak`].
static MAPPED: AtomicUsize = AtomicUsize::new(0);
static MAPPED_PEAK: AtomicUsize = AtomicUsize::new(0);

pub(super) fn mapped() -> usize {
    MAPPED.load(Ordering::Relaxed)
}

pub(super) fn mapped_peak() -> usize {
    MAPPED_PEAK.load(Ordering::Relaxed)
}

pub(super) fn reset_mapped_peak() {
    MAPPED_PEAK.store(mapped(), Ordering::Relaxed);
}

/// A file in memory. Written pages would be the process's own, but nobody writes.
struct Mapping {
    memory: MmapRaw,
}

impl Mapping {
    fn new(file: &File, len: usize) -> std::io::Result<Mapping> {
        // SAFETY: no reference is made to the bytes, which others may change. Private and writable, so that an operation
        // that takes over an input's memory meets a page of its own and not a fault.
        let memory = unsafe { MmapOptions::new().len(len).no_reserve_swap().map_copy(file) }?.into();
        let now = MAPPED.fetch_add(len, Ordering::Relaxed) + len;
        MAPPED_PEAK.fetch_max(now, Ordering::Relaxed);
        Ok(Mapping { memory })
    }

    /// Brings a range that begins at a page into memory.
    fn fault_in(&self, start: usize, len: usize) -> std::io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            // Reports what would be a signal when the page is touched.
            let Err(error) = self.memory.advise_range(Advice::PopulateRead, start, len) else { return Ok(()) };
            // Kernels before 5.14 do not know it.
            if error.raw_os_error() != Some(libc::EINVAL) {
                return Err(error);
            }
        }
        // Only a hint.
        let _ = self.memory.advise_range(Advice::WillNeed, start, len);
        for at in (start..self.memory.len().min(start + len)).step_by(PAGE) {
            // SAFETY: within the mapping, which is readable.
            unsafe { self.memory.as_ptr().add(at).read_volatile() };
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        MAPPED.fetch_sub(self.memory.len(), Ordering::Relaxed);
    }
}

/// The pages of one tensor of a mapped file.
pub struct Pages {
    mapping: Arc<Mapping>,
    name: Arc<str>,
    from: usize,
    len: usize,
}

impl Pages {
    /// Brings them into memory, calling `each` every few megabytes.
    ///
    /// # Errors
    /// What kept the file from being read, and `Cancelled`.
    pub fn load(&self, progress: &ReadProgress, mut each: impl FnMut()) -> Result<()> {
        let end = self.from + self.len;
        let mut at = self.from;
        while at < end {
            progress.check()?;
            let stop = end.min((at / CHUNK + 1) * CHUNK);
            let start = at / PAGE * PAGE;
            self.mapping.fault_in(start, stop - start).map_err(|e| Error::io(&*self.name, e))?;
            progress.add(stop - at);
            at = stop;
            each();
        }
        Ok(())
    }
}

/// Norms and biases are at most so large.
const SMALL: u64 = 1 << 16;

/// Where a tensor lies in its file.
pub struct Located<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub dtype: Dtype,
    /// Its shape; validated against the bytes.
    pub shape: Vec<i32>,
    /// Offset of the first byte in the file.
    pub from: u64,
    /// Bytes.
    pub len: u64,
}

/// Maps a weight file whose header has been validated and makes arrays of its tensors. `None` where that cannot be, and
/// the file must be read: not on this device, or not with these tensors.
///
/// The file must not be cut short while it is mapped; replacing or removing it is fine.
///
/// Headers may have any length, and so tensors any address. The kernels do not mind in matrices of codes and half
/// precision, which is allowed with `anywhere`; what is small is copied to where everyone can use it.
pub fn map_tensors(
    file: &File,
    name: &str,
    tensors: &[Located<'_>],
    anywhere: bool,
) -> Result<Option<HashMap<String, (Array, Pages)>>> {
    let aligned = |t: &Located| (t.from as usize).is_multiple_of(t.dtype.size());
    let tolerated = |t: &Located| anywhere && matches!(t.dtype, Dtype::F16 | Dtype::Bf16 | Dtype::U32 | Dtype::U8);
    let small = |t: &Located| t.len <= SMALL;
    let fits = |t: &Located| t.from >= 8 && (aligned(t) || small(t) || tolerated(t));
    let disabled = crate::env::MLXE_MMAP.is_off();
    if disabled || !host::available() || !tensors.iter().all(fits) {
        return Ok(None);
    }
    let length = file.metadata().map_err(|e| Error::io(name, e))?.len() as usize;
    // Some file systems cannot.
    let Ok(mapping) = Mapping::new(file, length) else { return Ok(None) };
    let mapping = Arc::new(mapping);
    let name: Arc<str> = name.into();
    let mut found = HashMap::new();
    for t in tensors {
        let (from, len) = (t.from as usize, t.len as usize);
        let elements: usize = t.shape.iter().map(|&n| n as usize).product();
        if from.checked_add(len).is_none_or(|end| end > length) || elements * t.dtype.size() != len {
            return Err(Error::internal(format!("{name}: {} lies outside of the file", t.name)));
        }
        if !aligned(t) && small(t) {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, t.from).map_err(|e| Error::io(&*name, e))?;
            let array = Array::from_slice(&bytes, &[len as i32])?.view(t.dtype)?.reshape(&t.shape)?;
            found.insert(t.name.to_owned(), (array, Pages { mapping: mapping.clone(), name: name.clone(), from, len }));
            continue;
        }
        // SAFETY: bounds and size were checked, and alignment where it matters; the mapping lives as long as its owner.
        let array =
            unsafe { host::over(mapping.memory.as_mut_ptr().add(from), &t.shape, t.dtype, Box::new(mapping.clone())) }?;
        let Some(array) = array else { return Ok(None) };
        let pages = Pages { mapping: mapping.clone(), name: name.clone(), from, len };
        found.insert(t.name.to_owned(), (array, pages));
    }
    Ok(Some(found))
}
