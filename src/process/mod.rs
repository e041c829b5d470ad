//! What holds for the whole process, whatever engines it has: threads of CPU kernels, limits of MLX's memory.
#![forbid(unsafe_code)]

mod options;

pub use options::ProcessOptions;

use parking_lot::Mutex;

use crate::array::{memory, threads};
use crate::error::{Error, Result};

/// The limit that was set; MLX tells only the one before.
static CACHE_LIMIT: Mutex<Option<u64>> = Mutex::new(None);

/// Sets what is given; the rest stays as it is.
///
/// # Errors
/// `InvalidArgument` if a value is out of range, or CPU kernels already run on another number of threads.
pub fn set(options: &ProcessOptions) -> Result<()> {
    options.validate()?;
    if let Some(count) = options.cpu_threads
        && !threads::set(count as usize)
    {
        let message = format!("cpu_threads cannot become {count}: kernels already run on {} threads", threads::count());
        return Err(Error::invalid_argument(message));
    }
    if let Some(bytes) = options.cache_limit {
        let mut limit = CACHE_LIMIT.lock();
        memory::set_cache_limit(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        *limit = Some(bytes);
    }
    if let Some(bytes) = options.memory_limit {
        memory::set_limit(usize::try_from(bytes).unwrap_or(usize::MAX))?;
    }
    Ok(())
}

/// What counts now. Without a cache limit, MLX's own counts. Asking for the number of threads settles it.
pub fn get() -> ProcessOptions {
    ProcessOptions {
        cpu_threads: u32::try_from(threads::count()).ok(),
        cache_limit: *CACHE_LIMIT.lock(),
        memory_limit: Some(memory::limit() as u64),
    }
}
