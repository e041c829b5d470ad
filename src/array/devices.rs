//! What devices there are, for people and for programs that choose.

use std::ffi::CStr;

use serde::Serialize;

use super::device::Device;
use super::{sys, system};

/// A device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// Which one: what engines take.
    pub device: Device,
    /// Its model, where the system tells.
    pub name: Option<String>,
    /// Bytes of memory: of the machine (or what a container allows), or of a GPU with memory of its own.
    pub memory_total: Option<u64>,
    /// Bytes that can be taken now; only known of the machine's memory.
    pub memory_available: Option<u64>,
    /// What computes: `mlx` (Metal, CUDA or MLX's CPU operations), or the level of our CPU kernels, such as `avx512`.
    pub kernels: &'static str,
    /// Whether engines use it by default.
    pub is_default: bool,
}

/// The devices that MLX can use here, the CPU first.
pub fn devices() -> Vec<DeviceInfo> {
    let best = Device::best();
    [Device::Cpu, Device::Gpu].into_iter().filter(|device| device.is_available()).map(|d| describe(d, best)).collect()
}

fn describe(device: Device, best: Device) -> DeviceInfo {
    let (name, size) = asked(device);
    let machine = system::memory();
    let is_default = device == best;
    match device {
        Device::Gpu if cfg!(not(target_vendor = "apple")) => {
            DeviceInfo { device, name, memory_total: size, memory_available: None, kernels: "mlx", is_default }
        }
        _ => DeviceInfo {
            device,
            name,
            memory_total: machine.map(|m| m.total).or(size),
            memory_available: machine.map(|m| m.available),
            kernels: match device {
                Device::Cpu if cfg!(not(target_vendor = "apple")) => mlx_engine_kernels::Level::get().name(),
                _ => "mlx",
            },
            is_default,
        },
    }
}

/// The name and the bytes of memory that MLX knows.
fn asked(device: Device) -> (Option<String>, Option<u64>) {
    let mut info = sys::mlx_device_info { ctx: std::ptr::null_mut() };
    let has = |info: sys::mlx_device_info, key: &CStr| {
        let mut exists = false;
        // SAFETY: a live table, and room for the answer.
        unsafe { sys::mlx_device_info_has_key(&mut exists, info, key.as_ptr()) == 0 && exists }
    };
    // SAFETY: the handles are made and freed here; strings of the table are copied before it goes.
    unsafe {
        let handle = sys::mlx_device_new_type(device.raw_type(), 0);
        let known = sys::mlx_device_info_get(&mut info, handle) == 0;
        sys::mlx_device_free(handle);
        if !known {
            return (None, None);
        }
        let (mut text, mut size) = (std::ptr::null(), 0_usize);
        let name = (has(info, c"device_name")
            && sys::mlx_device_info_get_string(&mut text, info, c"device_name".as_ptr()) == 0
            && !text.is_null())
        .then(|| CStr::from_ptr(text).to_string_lossy().into_owned());
        let size = (has(info, c"memory_size")
            && sys::mlx_device_info_get_size(&mut size, info, c"memory_size".as_ptr()) == 0)
            .then_some(size as u64);
        sys::mlx_device_info_free(info);
        (name, size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        let all = devices();
        assert_eq!(all[0].device, Device::Cpu);
        assert!(!all[0].kernels.is_empty() && all.iter().filter(|d| d.is_default).count() == 1);
        if let (Some(total), Some(available)) = (all[0].memory_total, all[0].memory_available) {
            assert!(available <= total && total > 1 << 20);
        }
    }
}
