//! The XCFramework, its archive and its checksum.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::framework::write_plist;
use super::platform::{NAME, Platform};
use super::plists;
use crate::repository::Result;

/// Makes `folder/CMLXEngine.xcframework` from slices whose frameworks (and dSYMs, if there are any) lie in
/// `folder of the slice/CMLXEngine.framework` and `folder of the slice/dSYMs/`.
pub fn xcframework(folder: &Path, slices: &[(Platform, PathBuf)]) -> Result<PathBuf> {
    let path = folder.join(format!("{NAME}.xcframework"));
    if path.exists() {
        fs::remove_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let mut listed = Vec::new();
    for (platform, built) in slices {
        let slice = path.join(platform.slice);
        let framework = format!("{NAME}.framework");
        copy_folder(&built.join(&framework), &slice.join(&framework))?;
        let has_dsym = built.join("dSYMs").exists();
        if has_dsym {
            copy_folder(&built.join("dSYMs"), &slice.join("dSYMs"))?;
        }
        listed.push((*platform, has_dsym));
    }
    write_plist(&plists::xcframework(&listed), &path.join("Info.plist"))?;
    Ok(path)
}

/// Copies a folder; links stay links.
pub fn copy_folder(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to).map_err(|e| format!("{}: {e}", to.display()))?;
    for entry in fs::read_dir(from).map_err(|e| format!("{}: {e}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            super::framework::copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Packs the XCFramework, with its name as the only entry at the top, and returns the archive and its checksum.
pub fn archive(xcframework: &Path) -> Result<(PathBuf, String)> {
    let (folder, name) = (xcframework.parent().expect("has a folder"), xcframework.file_name().expect("has a name"));
    let archive = xcframework.with_extension("xcframework.zip");
    let _ = fs::remove_file(&archive);
    // Links as links (the versions of a framework are made of them), no owners or times of access.
    let status = Command::new("zip").args(["-qryX"]).arg(&archive).arg(name).current_dir(folder).status();
    if !status.map_err(|e| format!("zip: {e}"))?.success() {
        return Err(format!("zip could not make {}", archive.display()).into());
    }
    Ok((archive.clone(), checksum(&archive)?))
}

/// SHA-256, which is what `swift package compute-checksum` says.
fn checksum(file: &Path) -> Result<String> {
    let output = Command::new("shasum").args(["-a", "256"]).arg(file).output().map_err(|e| format!("shasum: {e}"))?;
    let text = String::from_utf8(output.stdout)?;
    match text.split_whitespace().next() {
        Some(sum) if output.status.success() && sum.len() == 64 => Ok(sum.to_owned()),
        _ => Err(format!("shasum {}: {}", file.display(), String::from_utf8_lossy(&output.stderr)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::platform::PLATFORMS;
    use super::*;

    #[test]
    fn slices_links_and_symbols_survive_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let slices: Vec<(Platform, PathBuf)> = PLATFORMS
            .iter()
            .map(|platform| {
                let built = folder.path().join("built").join(platform.slice);
                let binary = built.join(format!("{NAME}.framework")).join(platform.binary());
                fs::create_dir_all(binary.parent().unwrap()).unwrap();
                fs::write(binary, platform.slice).unwrap();
                if platform.versioned() {
                    std::os::unix::fs::symlink("A", built.join("CMLXEngine.framework/Versions/Current")).unwrap();
                    fs::create_dir_all(built.join("dSYMs/CMLXEngine.framework.dSYM")).unwrap();
                }
                (*platform, built)
            })
            .collect();
        let made = xcframework(folder.path(), &slices).unwrap();
        let (archive, sum) = archive(&made).unwrap();
        assert_eq!(archive.file_name().unwrap(), "CMLXEngine.xcframework.zip");
        let unpacked = folder.path().join("unpacked");
        fs::create_dir(&unpacked).unwrap();
        let status = Command::new("unzip").arg("-q").arg(&archive).current_dir(&unpacked).status().unwrap();
        assert!(status.success());
        for platform in &PLATFORMS {
            let slice = unpacked.join("CMLXEngine.xcframework").join(platform.slice);
            let binary = slice.join("CMLXEngine.framework").join(platform.binary());
            assert_eq!(fs::read_to_string(binary).unwrap(), platform.slice);
            assert_eq!(slice.join("dSYMs").exists(), platform.versioned());
        }
        let link = unpacked.join("CMLXEngine.xcframework/macos-arm64/CMLXEngine.framework/Versions/Current");
        assert_eq!(fs::read_link(link).unwrap(), Path::new("A"));
        // The checksum is of the bytes that lie there.
        let other = Command::new("sha256sum").arg(&archive).output();
        if let Ok(output) = other {
            assert!(String::from_utf8(output.stdout).unwrap().starts_with(&sum));
        }
    }
}
