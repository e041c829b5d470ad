//! The property lists of a framework and of the XCFramework.

use plist::{Dictionary, Value};

use super::platform::{NAME, Platform};

/// A category of Apple's required-reason APIs of which our code or MLX's makes use, why, and the C functions in it.
/// https://developer.apple.com/documentation/bundleresources/describing-use-of-required-reason-api
pub struct Reasons {
    category: &'static str,
    reasons: &'static [&'static str],
    pub functions: &'static [&'static str],
}

pub const REASONS: [Reasons; 3] = [
    Reasons {
        // Sizes and kinds of model files, in the app's container or where the user has let it in.
        category: "NSPrivacyAccessedAPICategoryFileTimestamp",
        reasons: &["C617.1", "3B52.1"],
        functions: &[
            "stat",
            "fstat",
            "fstatat",
            "lstat",
            "getattrlist",
            "fgetattrlist",
            "getattrlistat",
            "getattrlistbulk",
        ],
    },
    Reasons {
        // Whether there is room for a download.
        category: "NSPrivacyAccessedAPICategoryDiskSpace",
        reasons: &["E174.1"],
        functions: &["statfs", "statvfs", "fstatfs", "fstatvfs"],
    },
    Reasons {
        // Time that passed between events within the app.
        category: "NSPrivacyAccessedAPICategorySystemBootTime",
        reasons: &["35F9.1"],
        functions: &["mach_absolute_time"],
    },
];

/// Apple's other categories: we have no reason to use them.
pub const UNDECLARED: [&str; 2] = ["OBJC_CLASS_$_NSUserDefaults", "OBJC_CLASS_$_UITextInputMode"];

/// What the build knows of Xcode; absent where there is none.
#[derive(Clone, Debug, Default)]
pub struct Toolchain {
    pub sdk_version: String,
    pub sdk_build: String,
    pub xcode: String,
    pub xcode_build: String,
}

fn dictionary<const N: usize>(entries: [(&str, Value); N]) -> Dictionary {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn strings(words: &[&str]) -> Value {
    Value::Array(words.iter().map(|&word| word.into()).collect())
}

/// Info.plist of the framework. `version` is that of the package.
pub fn framework(platform: &Platform, version: &str, toolchain: Option<&Toolchain>) -> Value {
    // Only numbers are allowed here.
    let number = version.split(['-', '+']).next().unwrap_or(version);
    let mut info = dictionary([
        ("CFBundleDevelopmentRegion", "en".into()),
        ("CFBundleExecutable", NAME.into()),
        ("CFBundleIdentifier", format!("mlx-engine.{NAME}").into()),
        ("CFBundleInfoDictionaryVersion", "6.0".into()),
        ("CFBundleName", NAME.into()),
        ("CFBundlePackageType", "FMWK".into()),
        ("CFBundleShortVersionString", number.into()),
        ("CFBundleSupportedPlatforms", strings(&[platform.bundle_platform])),
        ("CFBundleVersion", number.into()),
    ]);
    if platform.os == "ios" {
        info.insert("MinimumOSVersion".into(), platform.minimum_os.into());
        info.insert("UIDeviceFamily".into(), Value::Array(vec![1.into(), 2.into()]));
        if platform.variant.is_none() {
            info.insert("UIRequiredDeviceCapabilities".into(), strings(&["arm64"]));
        }
    } else {
        info.insert("LSMinimumSystemVersion".into(), platform.minimum_os.into());
    }
    if let Some(toolchain) = toolchain {
        // What Xcode writes into the bundles that it builds, and the App Store looks for.
        info.extend(dictionary([
            ("DTCompiler", "com.apple.compilers.llvm.clang.1_0".into()),
            ("DTPlatformName", platform.sdk.into()),
            ("DTPlatformVersion", toolchain.sdk_version.as_str().into()),
            ("DTSDKName", format!("{}{}", platform.sdk, toolchain.sdk_version).into()),
            ("DTSDKBuild", toolchain.sdk_build.as_str().into()),
            ("DTPlatformBuild", toolchain.sdk_build.as_str().into()),
            ("DTXcode", toolchain.xcode.as_str().into()),
            ("DTXcodeBuild", toolchain.xcode_build.as_str().into()),
        ]));
    }
    Value::Dictionary(info)
}

/// Info.plist of the XCFramework. Slices with a dSYM have it in `dSYMs/` beside the framework.
pub fn xcframework(slices: &[(Platform, bool)]) -> Value {
    let libraries = slices.iter().map(|(platform, has_dsym)| {
        let mut library = dictionary([
            ("BinaryPath", format!("{NAME}.framework/{}", platform.binary()).into()),
            ("LibraryIdentifier", platform.slice.into()),
            ("LibraryPath", format!("{NAME}.framework").into()),
            ("SupportedArchitectures", strings(&["arm64"])),
            ("SupportedPlatform", platform.os.into()),
        ]);
        if let Some(variant) = platform.variant {
            library.insert("SupportedPlatformVariant".into(), variant.into());
        }
        if *has_dsym {
            library.insert("DebugSymbolsPath".into(), "dSYMs".into());
        }
        Value::Dictionary(library)
    });
    Value::Dictionary(dictionary([
        ("AvailableLibraries", Value::Array(libraries.collect())),
        ("CFBundlePackageType", "XFWK".into()),
        ("XCFrameworkFormatVersion", "1.0".into()),
    ]))
}

/// PrivacyInfo.xcprivacy: nothing is collected, nobody is tracked.
pub fn privacy() -> Value {
    let types = REASONS.iter().map(|Reasons { category, reasons, .. }| {
        Value::Dictionary(dictionary([
            ("NSPrivacyAccessedAPIType", (*category).into()),
            ("NSPrivacyAccessedAPITypeReasons", strings(reasons)),
        ]))
    });
    Value::Dictionary(dictionary([
        ("NSPrivacyTracking", false.into()),
        ("NSPrivacyTrackingDomains", strings(&[])),
        ("NSPrivacyCollectedDataTypes", strings(&[])),
        ("NSPrivacyAccessedAPITypes", Value::Array(types.collect())),
    ]))
}

#[cfg(test)]
mod tests {
    use super::super::platform::PLATFORMS;
    use super::*;

    /// As another program reads it.
    fn read(value: &Value) -> serde_json::Value {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file.plist");
        value.to_file_xml(&file).unwrap();
        let script = "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
        let output = std::process::Command::new("python3").args(["-c", script]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[test]
    fn frameworks_say_what_their_library_needs() {
        for platform in &PLATFORMS {
            let info = read(&framework(platform, "1.2.3-beta.1", None));
            let key = if platform.os == "ios" { "MinimumOSVersion" } else { "LSMinimumSystemVersion" };
            assert_eq!(info[key], platform.minimum_os);
            assert_eq!(info["CFBundleExecutable"], NAME);
            assert_eq!(info["CFBundlePackageType"], "FMWK");
            assert_eq!(info["CFBundleShortVersionString"], "1.2.3");
            assert_eq!(info["CFBundleSupportedPlatforms"], serde_json::json!([platform.bundle_platform]));
            assert!(info.get("DTXcode").is_none());
        }
        let toolchain = Toolchain { sdk_version: "18.2".into(), xcode: "1620".into(), ..Default::default() };
        let info = read(&framework(&PLATFORMS[0], "1.2.3", Some(&toolchain)));
        assert_eq!(info["DTSDKName"], "iphoneos18.2");
        assert_eq!(info["UIDeviceFamily"], serde_json::json!([1, 2]));
    }

    #[test]
    fn xcframework_names_every_slice() {
        let slices = PLATFORMS.map(|platform| (platform, platform.os == "macos"));
        let info = read(&xcframework(&slices));
        assert_eq!(info["CFBundlePackageType"], "XFWK");
        let libraries = info["AvailableLibraries"].as_array().unwrap();
        assert_eq!(libraries.len(), 3);
        let simulator = libraries.iter().find(|l| l["LibraryIdentifier"] == "ios-arm64-simulator").unwrap();
        assert_eq!(simulator["SupportedPlatformVariant"], "simulator");
        assert_eq!(simulator["BinaryPath"], "CMLXEngine.framework/CMLXEngine");
        assert!(simulator.get("DebugSymbolsPath").is_none());
        let mac = libraries.iter().find(|l| l["SupportedPlatform"] == "macos").unwrap();
        assert_eq!(mac["BinaryPath"], "CMLXEngine.framework/Versions/A/CMLXEngine");
        assert_eq!(mac["DebugSymbolsPath"], "dSYMs");
    }

    #[test]
    fn privacy_manifest_declares_each_category_once() {
        let manifest = read(&privacy());
        assert_eq!(manifest["NSPrivacyTracking"], false);
        assert_eq!(manifest["NSPrivacyCollectedDataTypes"], serde_json::json!([]));
        let types = manifest["NSPrivacyAccessedAPITypes"].as_array().unwrap();
        let categories: std::collections::BTreeSet<_> =
            types.iter().map(|t| t["NSPrivacyAccessedAPIType"].as_str().unwrap()).collect();
        assert_eq!(categories.len(), types.len());
        assert!(types.iter().all(|t| !t["NSPrivacyAccessedAPITypeReasons"].as_array().unwrap().is_empty()));
    }
}
