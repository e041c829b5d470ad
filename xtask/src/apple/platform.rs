//! The platforms of the XCFramework.

/// The framework, its module and the binary target of Package.swift. Clang looks for module X in X.framework only, so
/// all of them share one name.
pub const NAME: &str = "CMLXEngine";

/// How MLX's Metal kernels come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metal {
    /// All compiled ahead: large, and nothing to wait for.
    Precompiled,
    /// A few compiled ahead, the rest from source when first used: what an app can afford to carry.
    Jit,
    /// No GPU: MLX does not run on the simulator's.
    None,
}

/// One slice of the XCFramework.
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// The slice's folder, named as Xcode does.
    pub slice: &'static str,
    /// For rustc.
    pub triple: &'static str,
    /// For clang.
    pub target: &'static str,
    /// For xcrun.
    pub sdk: &'static str,
    /// For CMake.
    pub system: &'static str,
    /// For ld64.lld and text-based stubs.
    pub linker: &'static str,
    /// `SupportedPlatform` and `SupportedPlatformVariant` of the XCFramework.
    pub os: &'static str,
    pub variant: Option<&'static str>,
    /// `CFBundleSupportedPlatforms`.
    pub bundle_platform: &'static str,
    /// Of LC_BUILD_VERSION.
    pub macho_platform: u32,
    /// The oldest system it runs on: in the Mach-O, the Info.plist and what is compiled.
    pub minimum_os: &'static str,
    /// What tells compilers the same.
    pub deployment_variable: &'static str,
    pub metal: Metal,
}

pub const PLATFORMS: [Platform; 3] = [
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
    pub fn versioned(&self) -> bool {
        self.os == "macos"
    }

    /// Where the library lies in the framework.
    pub fn binary(&self) -> String {
        if self.versioned() { format!("Versions/A/{NAME}") } else { NAME.to_owned() }
    }

    /// What a program that links the library asks for.
    pub fn install_name(&self) -> String {
        format!("@rpath/{NAME}.framework/{}", self.binary())
    }
}
