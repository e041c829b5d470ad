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
mod plists;
mod stub;
mod xcrun;

pub use check::check;
pub use plan::xcframework;

/// The framework, its module and the binary target of Package.swift. Clang looks for module X in X.framework only, so
/// all of them share one name.
const NAME: &str = "CMLXEngine";

/// How MLX's Metal kernels come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metal {
    /// All compiled ahead: large, and nothing to wait for.
    Precompiled,
    /// A few compiled ahead, the rest from source when first used: what an app can afford to carry.
    Jit,
    /// No GPU: MLX does not run on the simulator's.
    None,
}

/// One slice of the XCFramework.
#[derive(Clone, Copy, Debug)]
struct Platform {
    /// The slice's folder, named as Xcode does.
    slice: &'static str,
    /// For rustc.
    triple: &'static str,
    /// For clang.
    target: &'static str,
    /// For xcrun.
    sdk: &'static str,
    /// For CMake.
    system: &'static str,
    /// For ld64.lld and text-based stubs.
    linker: &'static str,
    /// `SupportedPlatform` and `SupportedPlatformVariant` of the XCFramework.
    os: &'static str,
    variant: Option<&'static str>,
    /// `CFBundleSupportedPlatforms`.
    bundle_platform: &'static str,
    /// Of LC_BUILD_VERSION.
    macho_platform: u32,
    /// The oldest system it runs on: in the Mach-O, the Info.plist and what is compiled.
    minimum_os: &'static str,
    /// What tells compilers the same.
    deployment_variable: &'static str,
    metal: Metal,
}

const PLATFORMS: [Platform; 3] = [
    Platform {
        slice: "ios-arm64",
        triple: "aarch64-apple-ios",
        target: "arm64-apple-ios17.0",
        sdk: "iphoneos",
        system: "iOS",
        linker: "ios",
        os: "ios",
        variant: None,
        bundle_platform: "iPhoneOS",
        macho_platform: object::macho::PLATFORM_IOS.0,
        minimum_os: "17.0",
        deployment_variable: "IPHONEOS_DEPLOYMENT_TARGET",
        metal: Metal::Jit,
    },
    Platform {
        slice: "ios-arm64-simulator",
        triple: "aarch64-apple-ios-sim",
        target: "arm64-apple-ios17.0-simulator",
        sdk: "iphonesimulator",
        system: "iOS",
        linker: "ios-simulator",
        os: "ios",
        variant: Some("simulator"),
        bundle_platform: "iPhoneSimulator",
        macho_platform: object::macho::PLATFORM_IOSSIMULATOR.0,
        minimum_os: "17.0",
        deployment_variable: "IPHONEOS_DEPLOYMENT_TARGET",
        metal: Metal::None,
    },
    Platform {
        slice: "macos-arm64",
        triple: "aarch64-apple-darwin",
        target: "arm64-apple-macos14.0",
        sdk: "macosx",
        system: "Darwin",
        linker: "macos",
        os: "macos",
        variant: None,
        bundle_platform: "MacOSX",
        macho_platform: object::macho::PLATFORM_MACOS.0,
        minimum_os: "14.0",
        deployment_variable: "MACOSX_DEPLOYMENT_TARGET",
        metal: Metal::Precompiled,
    },
];

impl Platform {
    /// Frameworks of macOS have versions and links to the current one, those of iOS are flat.
    fn versioned(&self) -> bool {
        self.os == "macos"
    }

    /// Where the library lies in the framework.
    fn binary(&self) -> String {
        if self.versioned() { format!("Versions/A/{NAME}") } else { NAME.to_owned() }
    }

    /// What a program that links the library asks for.
    fn install_name(&self) -> String {
        format!("@rpath/{NAME}.framework/{}", self.binary())
    }
}
