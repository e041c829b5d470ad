//! A stub of an SDK, good for linking: which symbols the system has, and nothing to run.
//!
//! It is made from a list of macOS's symbols for all platforms. So a symbol that no Apple system has is found, one that
//! iOS alone lacks is not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::platform::Platform;
use crate::repository::Result;

/// The libraries of the C standard, all one on Apple's systems.
const LIBRARIES: [&str; 5] = ["libSystem", "libc", "libm", "libpthread", "libdl"];

/// Writes `sdk/usr/lib/*.tbd` for a platform from libSystem.tbd of macOS.
pub fn write(sdk: &Path, platform: &Platform, system: &str) -> Result {
    let symbols = symbols(system);
    if !symbols.contains("_malloc") {
        return Err("libSystem.tbd: there is no _malloc in it for arm64".into());
    }
    let folder = sdk.join("usr/lib");
    fs::create_dir_all(&folder)?;
    for library in LIBRARIES {
        fs::write(folder.join(format!("{library}.tbd")), stub(platform, "libSystem.B", &symbols))?;
    }
    let headers = sdk.join("usr/include");
    fs::create_dir_all(&headers)?;
    fs::write(headers.join("TargetConditionals.h"), target_conditionals(platform))?;
    // The libc crate asks for it and calls nothing of it.
    fs::write(folder.join("libiconv.tbd"), stub(platform, "libiconv.2", &BTreeSet::new()))?;
    Ok(())
}

/// What the macros of the header of that name say. The real one needs a newer clang than Debian's.
fn target_conditionals(platform: &Platform) -> String {
    let ios = platform.os == "ios";
    let simulator = platform.variant == Some("simulator");
    let mut text = String::from("#pragma once\n");
    for (name, value) in [
        ("OS_MAC", true),
        ("OS_OSX", !ios),
        ("OS_IPHONE", ios),
        ("OS_IOS", ios),
        ("OS_SIMULATOR", simulator),
        ("OS_EMBEDDED", ios && !simulator),
        ("OS_MACCATALYST", false),
        ("OS_WATCH", false),
        ("OS_TV", false),
        ("OS_VISION", false),
        ("OS_DRIVERKIT", false),
        ("OS_UNIX", false),
        ("OS_WIN32", false),
        ("OS_LINUX", false),
        ("IPHONE_SIMULATOR", simulator),
        ("CPU_ARM64", true),
        ("CPU_X86_64", false),
        ("RT_64_BIT", true),
        ("RT_LITTLE_ENDIAN", true),
        ("RT_BIG_ENDIAN", false),
        ("RT_MAC_MACHO", true),
    ] {
        text += &format!("#define TARGET_{name} {}\n", u8::from(value));
    }
    text
}

fn stub(platform: &Platform, name: &str, symbols: &BTreeSet<&str>) -> String {
    let target = format!("arm64-{}", platform.linker);
    let quoted: Vec<String> = symbols.iter().map(|symbol| format!("'{symbol}'")).collect();
    format!(
        "--- !tapi-tbd\ntbd-version: 4\ntargets: [ {target} ]\ninstall-name: '/usr/lib/{name}.dylib'\nexports:\n  \
         - targets: [ {target} ]\n    symbols: [ {} ]\n...\n",
        quoted.join(", ")
    )
}

/// What a text-based stub library and those in the same file export for arm64.
pub fn symbols(tbd: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut applies = false;
    // Everything of interest is `key: [ a, b ]`, over as many lines as it takes.
    for piece in tbd.split(']') {
        let Some((before, list)) = piece.rsplit_once('[') else { continue };
        let key = before.trim_end().trim_end_matches(':').rsplit([' ', '\n']).next().unwrap_or_default();
        if key == "targets" {
            applies = list.contains("arm64");
        } else if key.ends_with("symbols") && applies {
            found.extend(list.split(',').map(|s| s.trim().trim_matches(['\'', '"'])).filter(|s| !s.is_empty()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::platform::PLATFORMS;
    use super::*;

    const TBD: &str = "--- !tapi-tbd
targets:         [ x86_64-macos, arm64e-macos ]
exports:
  - targets:         [ x86_64-macos ]
    symbols:         [ _old, 'R8$_close' ]
  - targets:         [ x86_64-macos,
                       arm64e-macos ]
    symbols:         [ _malloc, '_fopen$DARWIN_EXTSN',
                       _free ]
    weak-symbols:    [ _weak ]
";

    #[test]
    fn symbols_of_arm64_are_found() {
        let found: Vec<_> = symbols(TBD).into_iter().collect();
        assert_eq!(found, ["_fopen$DARWIN_EXTSN", "_free", "_malloc", "_weak"]);
    }

    #[test]
    fn a_stub_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &PLATFORMS[1], TBD).unwrap();
        let text = fs::read_to_string(folder.path().join("usr/lib/libSystem.tbd")).unwrap();
        assert!(text.contains("targets: [ arm64-ios-simulator ]"), "{text}");
        assert_eq!(symbols(&text), symbols(TBD));
        assert!(write(folder.path(), &PLATFORMS[1], "").is_err());
    }
}
