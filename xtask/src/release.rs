//! What the release workflow takes from the repository and writes into it.

use std::fs;

use crate::repository::{Result, package_version, root};

/// Prints the section of CHANGELOG.md about `version`, which has to be the one in Cargo.toml.
pub fn notes(version: &str) -> Result {
    let current = package_version()?;
    if version != current {
        return Err(format!("Cargo.toml says {current}, not {version}").into());
    }
    print!("{}", section(&fs::read_to_string(root().join("CHANGELOG.md"))?, version)?);
    Ok(())
}

fn section(changelog: &str, version: &str) -> Result<String> {
    let start = format!("## [{version}]");
    let mut lines = changelog.lines().skip_while(|line| !line.starts_with(&start));
    lines.next().ok_or_else(|| format!("CHANGELOG.md: no section {start}"))?;
    let text: Vec<&str> = lines.take_while(|line| !line.starts_with("## ") && !is_link(line)).collect();
    let text = text.join("\n");
    if text.trim().is_empty() {
        return Err(format!("CHANGELOG.md: the section {start} is empty").into());
    }
    Ok(format!("{}\n", text.trim()))
}

/// The addresses that such a file ends with: `[1.0.0]: https://..`.
fn is_link(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// Writes where a release is and its checksum into Package.swift.
pub fn manifest(url: &str, checksum: &str) -> Result {
    let path = root().join("Package.swift");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    fs::write(&path, released(&text, url, checksum)?)?;
    println!("wrote {}", path.display());
    Ok(())
}

fn released(manifest: &str, url: &str, checksum: &str) -> Result<String> {
    if !url.starts_with("https://") || url.contains(['"', '\\', '\n']) {
        return Err(format!("{url}: not the address of a release").into());
    }
    if checksum.len() != 64 || !checksum.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("{checksum}: not a SHA-256").into());
    }
    let mut text = manifest.to_owned();
    for (start, value) in [("let releaseURL = \"", url), ("let releaseChecksum = \"", checksum)] {
        let mut places = text.match_indices(start).map(|(at, _)| at + start.len());
        let (Some(from), None) = (places.next(), places.next()) else {
            return Err(format!("Package.swift: not exactly one {start}").into());
        };
        let length = text[from..].find('"').ok_or("Package.swift: a text without an end")?;
        text.replace_range(from..from + length, value);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_one_section() {
        let text = "# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-01-02\n\n### Added\n\n- x [y](z)\n\n## [0.1.0]\n\n- a\n\n\
                    [0.1.0]: https://there\n";
        assert_eq!(section(text, "0.2.0").unwrap(), "### Added\n\n- x [y](z)\n");
        assert_eq!(section(text, "0.1.0").unwrap(), "- a\n");
        assert!(section(text, "0.3.0").is_err());
        assert!(section(text, "Unreleased").is_err(), "empty");
    }

    #[test]
    fn notes_are_of_the_version_in_cargo_toml() {
        assert!(notes("999.0.0").unwrap_err().to_string().contains("Cargo.toml"));
    }

    #[test]
    fn a_release_is_written_into_the_manifest() {
        let manifest = "import X\nlet releaseURL = \"https://old\"\nlet releaseChecksum = \"00\"\nlet other = 1\n";
        let sum = "ab".repeat(32);
        let text = released(manifest, "https://new/CMLXEngine.xcframework.zip", &sum).unwrap();
        assert_eq!(
            text,
            format!(
                "import X\nlet releaseURL = \"https://new/CMLXEngine.xcframework.zip\"\n\
                 let releaseChecksum = \"{sum}\"\nlet other = 1\n"
            )
        );
        assert!(released("nothing", "https://new", &sum).is_err());
        assert!(released(&(manifest.to_owned() + manifest), "https://new", &sum).is_err());
        assert!(released(manifest, "https://new", "abc").is_err());
        assert!(released(manifest, "https://a\"b", &sum).is_err());
    }
}
