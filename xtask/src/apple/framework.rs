//! One framework, from a library and a few texts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::platform::{Metal, NAME, Platform};
use super::plists::{self, Toolchain};
use crate::repository::{Result, root};

/// What goes into a framework.
pub struct Parts<'a> {
    pub dylib: &'a Path,
    /// MLX's Metal kernels, for the platforms that have them.
    pub metallib: Option<&'a Path>,
    pub version: &'a str,
    pub toolchain: Option<&'a Toolchain>,
}

/// Makes `folder/CMLXEngine.framework` anew and returns its path.
pub fn assemble(folder: &Path, platform: &Platform, parts: &Parts) -> Result<PathBuf> {
    if parts.metallib.is_some() != (platform.metal != Metal::None) {
        return Err(format!("{}: Metal kernels are {:?}", platform.slice, platform.metal).into());
    }
    let framework = folder.join(format!("{NAME}.framework"));
    if framework.exists() {
        fs::remove_dir_all(&framework).map_err(|e| format!("{}: {e}", framework.display()))?;
    }
    // Flat on iOS: everything lies at the top. On macOS in a version, with links to it.
    let contents = if platform.versioned() { framework.join("Versions/A") } else { framework.clone() };
    let resources = if platform.versioned() { contents.join("Resources") } else { contents.clone() };
    for part in [&contents.join("Headers"), &contents.join("Modules"), &resources] {
        fs::create_dir_all(part).map_err(|e| format!("{}: {e}", part.display()))?;
    }
    copy(parts.dylib, &contents.join(NAME))?;
    copy(&root().join("include/mlx_engine.h"), &contents.join("Headers/mlx_engine.h"))?;
    fs::write(contents.join("Modules/module.modulemap"), module_map())?;
    write_plist(&plists::framework(platform, parts.version, parts.toolchain), &resources.join("Info.plist"))?;
    write_plist(&plists::privacy(), &resources.join("PrivacyInfo.xcprivacy"))?;
    if let Some(metallib) = parts.metallib {
        // MLX looks in the folder of the library it is part of, and in Resources/ there.
        copy(metallib, &resources.join("mlx.metallib"))?;
    }
    if platform.versioned() {
        symlink("A", framework.join("Versions/Current"))?;
        for name in [NAME, "Headers", "Modules", "Resources"] {
            symlink(format!("Versions/Current/{name}"), framework.join(name))?;
        }
    }
    Ok(framework)
}

/// The module of include/module.modulemap, as part of a framework.
fn module_map() -> String {
    format!("framework module {NAME} {{\n    umbrella header \"mlx_engine.h\"\n    export *\n}}\n")
}

pub fn write_plist(value: &plist::Value, path: &Path) -> Result {
    value.to_file_xml(path).map_err(|e| format!("{}: {e}", path.display()).into())
}

pub fn copy(from: &Path, to: &Path) -> Result {
    fs::copy(from, to).map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::platform::PLATFORMS;
    use super::*;

    fn made(folder: &Path, platform: &Platform) -> Result<PathBuf> {
        let (dylib, metallib) = (folder.join("built"), folder.join("kernels"));
        fs::write(&dylib, "library")?;
        fs::write(&metallib, "kernels")?;
        let metallib = (platform.metal != Metal::None).then_some(metallib.as_path());
        assemble(folder, platform, &Parts { dylib: &dylib, metallib, version: "1.0.0", toolchain: None })
    }

    /// Every file and link below a folder, links with where they lead.
    fn tree(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_path_buf()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                match fs::read_link(&path) {
                    Ok(target) => found.push(format!("{name} -> {}", target.display())),
                    Err(_) if path.is_dir() => folders.push(path),
                    Err(_) => found.push(name),
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn ios_is_flat() {
        let folder = tempfile::tempdir().unwrap();
        let [ios, simulator, _] = &PLATFORMS;
        let mut expected = vec![
            "CMLXEngine",
            "Headers/mlx_engine.h",
            "Info.plist",
            "Modules/module.modulemap",
            "PrivacyInfo.xcprivacy",
        ];
        assert_eq!(tree(&made(folder.path(), simulator).unwrap()), expected);
        // Made anew: nothing is left of what was there.
        expected.push("mlx.metallib");
        assert_eq!(tree(&made(folder.path(), ios).unwrap()), expected);
    }

    #[test]
    fn macos_has_versions() {
        let folder = tempfile::tempdir().unwrap();
        let framework = made(folder.path(), &PLATFORMS[2]).unwrap();
        assert_eq!(
            tree(&framework),
            [
                "CMLXEngine -> Versions/Current/CMLXEngine",
                "Headers -> Versions/Current/Headers",
                "Modules -> Versions/Current/Modules",
                "Resources -> Versions/Current/Resources",
                "Versions/A/CMLXEngine",
                "Versions/A/Headers/mlx_engine.h",
                "Versions/A/Modules/module.modulemap",
                "Versions/A/Resources/Info.plist",
                "Versions/A/Resources/PrivacyInfo.xcprivacy",
                "Versions/A/Resources/mlx.metallib",
                "Versions/Current -> A",
            ]
        );
        assert_eq!(fs::read_to_string(framework.join("Resources/mlx.metallib")).unwrap(), "kernels");
    }

    #[test]
    fn a_framework_without_its_kernels_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dylib = folder.path().join("built");
        fs::write(&dylib, "library").unwrap();
        let parts = Parts { dylib: &dylib, metallib: None, version: "1.0.0", toolchain: None };
        assert!(assemble(folder.path(), &PLATFORMS[0], &parts).is_err());
    }

    /// Package.swift and include/module.modulemap have the same module.
    #[test]
    fn module_has_one_name() {
        let map = fs::read_to_string(root().join("include/module.modulemap")).unwrap();
        assert!(map.contains(&format!("module {NAME} ")), "{map}");
        assert!(module_map().contains(&format!("framework module {NAME} ")));
    }
}
