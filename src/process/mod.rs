//! Process-wide settings, which apply to all engines: threads of CPU kernels, MLX's memory limits.
#![forbid(unsafe_code)]

mod options;

pub use options::ProcessOptions;

use parking_lot::Mutex;

use crate::array::{memory, threads};
use crate::error::{Error, Result};

/// The limit that was set; MLX only returns the previous one.
static CACHE_LIMIT: Mutex<Option<u64>> = Mutex::new(None);

/// Sets the given options; the others stay as they are.
///
/// # Errors
/// `InvalidArgument` if a value is out of range, or CPU kernels already run on a different number of threads.
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

/// The current settings. Without a cache limit, MLX's own applies. Calling this fixes the number of threads.
pub fn get() -> ProcessOptions {
    ProcessOptions {
        cpu_threads: u32::try_from(threads::count()).ok(),
        cache_limit: *CACHE_LIMIT.lock(),
        memory_limit: Some(memory::limit() as u64),
    }
}
