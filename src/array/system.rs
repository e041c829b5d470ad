//! The memory of the machine: how much there is, and how much a process may still take.

/// Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemMemory {
    /// What the machine has, or what this process may use of it where a limit is set (containers).
    pub total: u64,
    /// What can be taken now without others having to give some up.
    pub available: u64,
}

/// How much memory there is; `None` where the system does not say.
///
/// - Linux: `MemTotal` and `MemAvailable` of `/proc/meminfo`, and the limits of the process's control group (version 2,
///   its parents included, or version 1) where they are lower.
/// - macOS: `hw.memsize`; free, inactive, purgeable and speculative pages of `host_statistics64`.
/// - iOS, tvOS, visionOS: `hw.memsize`, and `os_proc_available_memory`, which is what the system still allows this app:
///   roughly half of a device's memory, more with the entitlement
///   `com.apple.developer.kernel.increased-memory-limit`. An app that passes it is killed without a word.
pub fn memory() -> Option<SystemMemory> {
    platform::memory()
}

#[cfg(not(target_vendor = "apple"))]
mod platform {
    use std::path::{Path, PathBuf};

    use super::SystemMemory;

    pub fn memory() -> Option<SystemMemory> {
        let whole = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Some(limited(whole, &groups, Path::new("/sys/fs/cgroup")))
    }

    pub(super) fn meminfo(text: &str) -> Option<SystemMemory> {
        let field = |name: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(SystemMemory { total: field("MemTotal")?, available: field("MemAvailable")? })
    }

    /// The lowest of the limits of the process's groups.
    pub(super) fn limited(mut memory: SystemMemory, groups: &str, root: &Path) -> SystemMemory {
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let (base, limit, usage) = match controllers {
                "" => (root.to_path_buf(), "memory.max", "memory.current"),
                c if c.split(',').any(|c| c == "memory") => {
                    (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
                }
                _ => continue,
            };
            // Within a container the group's path may be the host's; its root is then the group itself.
            let own: PathBuf = base.join(path.trim_start_matches('/'));
            for folder in own.ancestors().take_while(|f| f.starts_with(&base)) {
                let number = |name: &str| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
                let Some(limit) = number(limit) else { continue };
                // The page cache counts as used but is given up when memory is wanted.
                let file = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
                let inactive = |name: &str| {
                    let line = file.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '))?;
                    line.trim().parse::<u64>().ok()
                };
                let cached = inactive("inactive_file").or_else(|| inactive("total_inactive_file")).unwrap_or(0);
                let used = number(usage).unwrap_or(0).saturating_sub(cached);
                memory.total = memory.total.min(limit);
                memory.available = memory.available.min(limit.saturating_sub(used));
            }
        }
        memory
    }
}

#[cfg(target_vendor = "apple")]
mod platform {
    use std::ffi::{CStr, c_void};

    use super::SystemMemory;

    pub fn memory() -> Option<SystemMemory> {
        let total = sysctl(c"hw.memsize")?;
        Some(SystemMemory { total, available: available()?.min(total) })
    }

    fn sysctl(name: &CStr) -> Option<u64> {
        let (mut value, mut size) = (0u64, std::mem::size_of::<u64>());
        // SAFETY: the name ends with a NUL; value and size outlive the call and belong together.
        let rc = unsafe {
            libc::sysctlbyname(name.as_ptr(), (&raw mut value).cast::<c_void>(), &raw mut size, std::ptr::null_mut(), 0)
        };
        (rc == 0 && size == std::mem::size_of::<u64>()).then_some(value)
    }

    #[cfg(not(target_os = "macos"))]
    fn available() -> Option<u64> {
        unsafe extern "C" {
            /// Of `os/proc.h`, since iOS 13: bytes that the process may still take; 0 where nothing limits it.
            safe fn os_proc_available_memory() -> usize;
        }
        match os_proc_available_memory() {
            // The simulator.
            0 => sysctl(c"hw.memsize"),
            n => Some(n as u64),
        }
    }

    #[cfg(target_os = "macos")]
    fn available() -> Option<u64> {
        // SAFETY: zeros are a valid value of a struct of numbers.
        let mut pages: libc::vm_statistics64 = unsafe { std::mem::zeroed() };
        let mut count = libc::HOST_VM_INFO64_COUNT;
        // SAFETY: the struct has room for `count` integers, as the constant says.
        #[allow(deprecated)] // libc points to another crate for the same call.
        let rc = unsafe {
            let host = libc::mach_host_self();
            libc::host_statistics64(host, libc::HOST_VM_INFO64, (&raw mut pages).cast(), &raw mut count)
        };
        let free = [pages.free_count, pages.inactive_count, pages.purgeable_count];
        // Speculative pages are among the free ones.
        let free: u64 = free.into_iter().map(u64::from).sum();
        (rc == 0).then_some(free.saturating_mul(sysctl(c"hw.pagesize")?))
    }
}

#[cfg(all(test, not(target_vendor = "apple")))]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        let memory = memory().unwrap();
        assert!(memory.available > 0 && memory.available <= memory.total, "{memory:?}");
    }

    #[test]
    fn limits_of_groups_count() {
        let text = "MemTotal:       16000000 kB\nMemFree:  1 kB\nMemAvailable:    8000000 kB\n";
        let whole = platform::meminfo(text).unwrap();
        assert_eq!(whole, SystemMemory { total: 16_384_000_000, available: 8_192_000_000 });
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        // Version 2: the parent's limit is the lower one; the group itself has none.
        write("a/memory.max", "4000000000\n");
        write("a/memory.current", "3000000000\n");
        write("a/memory.stat", "anon 5\ninactive_file 500000000\n");
        write("a/b/memory.max", "max\n");
        let got = platform::limited(whole, "0::/a/b\n", root.path());
        assert_eq!(got, SystemMemory { total: 4_000_000_000, available: 1_500_000_000 });
        // Version 1.
        write("memory/c/memory.limit_in_bytes", "2000000000\n");
        write("memory/c/memory.usage_in_bytes", "2500000000\n");
        let got = platform::limited(whole, "3:cpu,memory:/c\n1:name=systemd:/\n", root.path());
        assert_eq!(got, SystemMemory { total: 2_000_000_000, available: 0 });
        assert_eq!(platform::limited(whole, "nonsense", root.path()), whole);
    }
}
