//! The `xcrun` that MLX's build sees for iOS.
//!
//! MLX compiles its Metal kernels with `xcrun -sdk macosx metal -mmacosx-version-min=..` whatever the target is. A
//! script that stands before xcrun on PATH gives it the right SDK, and MLX needs no patch.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::platform::Platform;
use crate::repository::Result;

/// Writes `folder/xcrun`, which changes the SDK and the version flag and calls `real`.
pub fn install(folder: &Path, real: &Path, platform: &Platform) -> Result {
    fs::create_dir_all(folder)?;
    let path = folder.join("xcrun");
    // Atomically: another build may be running it.
    let new = folder.join(".xcrun.new");
    fs::write(&new, script(real, platform))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, &path)?;
    Ok(())
}

fn script(real: &Path, platform: &Platform) -> String {
    let real = real.display().to_string().replace('\'', r"'\''");
    let sdk = platform.sdk;
    format!(
        r#"#!/bin/sh
# Made by cargo xtask xcframework: Metal kernels for {sdk} instead of macosx.
# Each argument is taken from the front and put back at the end, changed or not.
left=$#
while [ "$left" -gt 0 ]; do
    argument=$1
    shift
    left=$((left - 1))
    case $argument in
    -sdk | --sdk)
        set -- "$@" "$argument"
        if [ "$left" -gt 0 ] && [ "$1" = macosx ]; then
            shift
            left=$((left - 1))
            set -- "$@" {sdk}
        fi
        ;;
    -mmacosx-version-min=* | -mmacos-version-min=*) set -- "$@" "-mios-version-min=${{argument#*=}}" ;;
    *) set -- "$@" "$argument" ;;
    esac
done
exec '{real}' "$@"
"#
    )
}

#[cfg(test)]
mod tests {
    use super::super::platform::PLATFORMS;
    use super::*;

    /// What the real xcrun gets when MLX's build calls xcrun with `arguments`.
    fn seen(arguments: &[&str]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("the user's xcrun");
        fs::write(&real, "#!/bin/sh\nfor argument; do printf '%s\\0' \"$argument\"; done\nexit 7\n").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o755)).unwrap();
        let shim = folder.path().join("bin");
        install(&shim, &real, &PLATFORMS[0]).unwrap();
        let output = std::process::Command::new(shim.join("xcrun")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "the real one's status: {output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn kernels_are_compiled_for_ios() {
        // The command lines of mlx/backend/metal/kernels/CMakeLists.txt and make_compiled_preamble.sh.
        assert_eq!(
            seen(&[
                "-sdk",
                "macosx",
                "metal",
                "-x",
                "metal",
                "-mmacosx-version-min=17.0",
                "-c",
                "a b.metal",
                "-o",
                "$x"
            ]),
            ["-sdk", "iphoneos", "metal", "-x", "metal", "-mios-version-min=17.0", "-c", "a b.metal", "-o", "$x"]
        );
        assert_eq!(seen(&["--sdk", "macosx", "--show-sdk-version"]), ["--sdk", "iphoneos", "--show-sdk-version"]);
    }

    #[test]
    fn everything_else_passes_unchanged() {
        for arguments in [
            &["--sdk", "iphonesimulator", "clang"][..],
            &["--find", "macosx", "", "*", "-sdk"],
            &["-sdk"],
            &["--show-sdk-path", "--sdk"],
        ] {
            assert_eq!(seen(arguments), arguments);
        }
        assert!(seen(&[]).is_empty());
    }
}
