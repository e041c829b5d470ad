//! The library for Apple platforms: `cargo xtask xcframework` on a Mac, `cargo xtask check-apple` anywhere.
//!
//! Both assemble the XCFramework with the same functions; they differ in where the Rust library and the linker come
//! from. docs/apple.md has the whole story.

mod cargo;
mod check;
mod framework;
mod link;
mod macho;
mod mlx;
mod package;
mod plan;
mod platform;
mod plists;
mod runner;
mod stub;
mod xcrun;

pub use check::check;
pub use plan::xcframework;
