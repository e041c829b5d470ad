//! The dynamic library of a framework, from the static one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::platform::Platform;
use crate::repository::Result;

/// Who links.
pub enum Linker<'a> {
    /// Xcode's clang, which finds the SDK and the compiler's own library by itself.
    Xcode,
    /// LLVM's linker with a stub of an SDK (`super::stub`).
    Lld { program: &'a Path, sdk: &'a Path },
}

/// Writes the list in the linker's form: C names have a leading underscore.
pub fn write_symbol_list(exported: &[String], path: &Path) -> Result {
    let text: String = exported.iter().map(|name| format!("_{name}\n")).collect();
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()).into())
}

/// What is linked into what.
pub struct Link<'a> {
    pub archive: &'a Path,
    pub symbol_list: &'a Path,
    /// Of the system, as rustc names them: `-lc++`, `-framework Metal`.
    pub libraries: &'a [String],
    pub version: &'a str,
    pub output: &'a Path,
}

impl Link<'_> {
    pub fn command(&self, platform: &Platform, linker: &Linker) -> Command {
        let path = |p: &Path| p.display().to_string();
        // Programs of an older version go on with a newer library as long as the first number is the same.
        let version = self.version.split(['-', '+']).next().unwrap_or(self.version);
        let compatible = format!("{}.0.0", version.split('.').next().unwrap_or("0"));
        let arguments: Vec<String> = [
            "-install_name",
            &platform.install_name(),
            "-current_version",
            version,
            "-compatibility_version",
            &compatible,
            // All of the archive counts as needed, then what the interface does not reach is left out.
            "-force_load",
            &path(self.archive),
            "-dead_strip",
            "-exported_symbols_list",
            &path(self.symbol_list),
        ]
        .map(str::to_owned)
        .to_vec();
        match linker {
            Linker::Xcode => {
                let mut command = Command::new("xcrun");
                command.args(["--sdk", platform.sdk, "clang++", "-target", platform.target, "-dynamiclib", "-o"]);
                command.arg(self.output);
                for argument in arguments {
                    command.args(["-Xlinker", &argument]);
                }
                command.args(self.libraries);
                command
            }
            Linker::Lld { program, sdk } => {
                let mut command = Command::new(program);
                let os = platform.minimum_os;
                command.args(["-flavor", "darwin", "-arch", "arm64", "-platform_version", platform.linker, os, os]);
                command.arg("-syslibroot").arg(sdk).arg("-dylib").args(arguments).arg("-o").arg(self.output);
                // The stub has no frameworks; whoever links so looks at the imports.
                command.args(["-undefined", "dynamic_lookup"]).args(without_frameworks(self.libraries)).arg("-lSystem");
                command
            }
        }
    }
}

fn without_frameworks(libraries: &[String]) -> impl Iterator<Item = &String> {
    let mut is_name = false;
    libraries.iter().filter(move |word| {
        let skip = is_name || *word == "-framework";
        is_name = *word == "-framework";
        !skip
    })
}

/// The names behind `-framework`.
pub fn frameworks(libraries: &[String]) -> Vec<&str> {
    libraries.windows(2).filter(|pair| pair[0] == "-framework").map(|pair| pair[1].as_str()).collect()
}

/// The system's libraries that a static library needs, from what rustc says with `--print native-static-libs`.
pub fn native_libraries(rustc_output: &str) -> Result<Vec<String>> {
    let line = rustc_output
        .lines()
        .rev()
        .find_map(|line| line.split_once("native-static-libs:"))
        .ok_or("rustc did not say which libraries the static one needs")?
        .1;
    let mut libraries: Vec<String> = Vec::new();
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        let group = match word {
            "-framework" => vec![word.to_owned(), words.next().ok_or("-framework without a name")?.to_owned()],
            _ => vec![word.to_owned()],
        };
        if !libraries.windows(group.len()).any(|seen| seen == group) {
            libraries.extend(group);
        }
    }
    Ok(libraries)
}

/// LLVM's linker, which every Rust toolchain carries.
pub fn rust_lld() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "target-libdir"]).output()?;
    let libdir = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let program = libdir.with_file_name("bin").join("rust-lld");
    if program.exists() { Ok(program) } else { Err(format!("{}: not there", program.display()).into()) }
}

#[cfg(test)]
mod tests {
    use super::super::platform::PLATFORMS;
    use super::*;

    #[test]
    fn both_linkers_get_the_same() {
        let libraries = ["-lc++", "-framework", "Security", "-lm"].map(str::to_owned);
        assert_eq!(frameworks(&libraries), ["Security"]);
        let link = Link {
            archive: Path::new("lib.a"),
            symbol_list: Path::new("symbols"),
            libraries: &libraries,
            version: "1.2.3-rc.1",
            output: Path::new("out"),
        };
        let line = |linker| {
            let command = link.command(&PLATFORMS[2], &linker);
            let words: Vec<_> = command.get_args().map(|a| a.to_str().unwrap().to_owned()).collect();
            words.join(" ")
        };
        let xcode = line(Linker::Xcode);
        assert!(xcode.starts_with("--sdk macosx clang++ -target arm64-apple-macos14.0 -dynamiclib"), "{xcode}");
        let lld = line(Linker::Lld { program: Path::new("lld"), sdk: Path::new("sdk") });
        assert!(lld.contains("-platform_version macos 14.0 14.0"), "{lld}");
        assert!(xcode.ends_with("-framework Security -lm") && lld.ends_with("-lc++ -lm -lSystem"), "{xcode}\n{lld}");
        for line in [xcode.replace("-Xlinker ", ""), lld] {
            assert!(line.contains("-install_name @rpath/CMLXEngine.framework/Versions/A/CMLXEngine"), "{line}");
            assert!(line.contains("-current_version 1.2.3 -compatibility_version 1.0.0"), "{line}");
            assert!(line.contains("-force_load lib.a -dead_strip -exported_symbols_list symbols"), "{line}");
            assert!(line.contains("-lc++"), "{line}");
        }
    }

    #[test]
    fn symbol_list_is_the_interface() {
        let exported = crate::repository::exported_symbols().unwrap();
        assert!(exported.contains(&"mlxe_abi_version".to_owned()));
        assert!(exported.iter().all(|name| name.starts_with("mlxe_")));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        write_symbol_list(&exported, &path).unwrap();
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), exported.len());
        assert!(text.lines().all(|line| line.starts_with("_mlxe_")));
    }

    #[test]
    fn libraries_are_what_rustc_says() {
        let text = "warning: x\nnote: native-static-libs: -framework Metal -framework Foundation -lc++ -lSystem \
                    -framework Metal -lc++ -lc\n";
        assert_eq!(
            native_libraries(text).unwrap(),
            ["-framework", "Metal", "-framework", "Foundation", "-lc++", "-lSystem", "-lc"]
        );
        assert!(native_libraries("nothing").is_err());
    }
}
