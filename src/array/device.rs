//! Where a thread computes.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

use super::error::{check, install_handler};
use super::sys;
use crate::error::{Error, Result};

/// A kind of device. MLX's memory is unified: arrays need not be moved between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The host CPU.
    Cpu,
    /// Metal on Apple silicon, CUDA where the CUDA build of MLX is loaded.
    Gpu,
}

impl Device {
    pub(super) fn raw_type(self) -> sys::mlx_device_type {
        match self {
            Device::Cpu => sys::mlx_device_type__MLX_CPU,
            Device::Gpu => sys::mlx_device_type__MLX_GPU,
        }
    }

    /// Whether the loaded MLX can use this device here.
    pub fn is_available(self) -> bool {
        install_handler();
        let mut count = 0;
        // SAFETY: `count` outlives the call.
        let rc = unsafe { sys::mlx_device_count(&mut count, self.raw_type()) };
        rc == 0 && count > 0
    }

    /// The GPU if there is one, otherwise the CPU.
    pub fn best() -> Device {
        if Device::Gpu.is_available() { Device::Gpu } else { Device::Cpu }
    }

    /// `cpu` or `gpu`.
    pub fn name(self) -> &'static str {
        match self {
            Device::Cpu => "cpu",
            Device::Gpu => "gpu",
        }
    }
}

#[derive(Clone, Copy)]
struct Current {
    device: Device,
    stream: sys::mlx_stream,
    cpu_stream: sys::mlx_stream,
}

thread_local! {
    static CURRENT: Cell<Option<Current>> = const { Cell::new(None) };
}

/// Makes this thread compute on `device`. Without it a thread uses the CPU.
///
/// MLX keeps a worker for each thread that computes and never ends it, so threads that call this should live long.
pub fn set_device(device: Device) -> Result<()> {
    install_handler();
    if !device.is_available() {
        return Err(Error::unsupported(format!("MLX has no {} here", device.name())));
    }
    // The default streams of this thread; handles of them are plain copies and live as long as the thread.
    // SAFETY: no arguments; a failure gives a null handle, which is checked.
    let (cpu_stream, stream) = unsafe {
        let cpu = sys::mlx_default_cpu_stream_new();
        (cpu, if device == Device::Gpu { sys::mlx_default_gpu_stream_new() } else { cpu })
    };
    if cpu_stream.ctx.is_null() || stream.ctx.is_null() {
        return Err(super::error::take("default_stream"));
    }
    CURRENT.set(Some(Current { device, stream, cpu_stream }));
    Ok(())
}

fn current() -> Current {
    if CURRENT.get().is_none() {
        set_device(Device::Cpu).expect("MLX always has a CPU");
    }
    CURRENT.get().expect("just set")
}

/// Where this thread computes.
pub fn device() -> Device {
    current().device
}

/// The stream for this thread's operations.
#[inline]
pub(super) fn stream() -> sys::mlx_stream {
    current().stream
}

/// The CPU stream of this thread, where files are read.
pub(super) fn cpu_stream() -> sys::mlx_stream {
    current().cpu_stream
}

/// Waits until all work that this thread has started is done.
#[track_caller]
pub fn synchronize() -> Result<()> {
    // SAFETY: the stream is valid.
    check(unsafe { sys::mlx_synchronize(stream()) }, "synchronize")
}
