//! What the loader and the App Store read in a library.

use std::path::Path;

use object::macho::{DylibCommand, MachHeader64, UuidCommand};
use object::read::macho::MachOFile;
use object::{Endianness, Object as _};

use super::platform::{PLATFORMS, Platform};
use crate::repository::Result;

#[derive(Debug, Default, PartialEq)]
pub struct Dylib {
    pub platform: u32,
    pub minimum_os: String,
    pub install_name: String,
    pub uuid: Option<[u8; 16]>,
    /// Without the leading underscore of C names; sorted.
    pub exports: Vec<String>,
    pub imports: Vec<String>,
    /// The libraries it asks for.
    pub libraries: Vec<String>,
}

pub fn read(path: &Path) -> Result<Dylib> {
    let data = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&data).map_err(|e| format!("{}: {e}", path.display()).into())
}

fn parse(data: &[u8]) -> object::Result<Dylib> {
    let file = MachOFile::<MachHeader64<Endianness>>::parse(data)?;
    let endian = file.endian();
    let mut dylib = Dylib::default();
    if let Some((version, _)) = file.build_version()? {
        dylib.platform = version.platform.get(endian).0;
        // X.Y.Z as xxxx.yy.zz
        let minimum = version.minos.get(endian).0;
        dylib.minimum_os = format!("{}.{}", minimum >> 16, (minimum >> 8) & 0xff);
    }
    let mut commands = file.macho_load_commands()?;
    while let Some(command) = commands.next()? {
        let name = |c: &DylibCommand<Endianness>| {
            Ok::<_, object::Error>(String::from_utf8_lossy(command.string(endian, c.dylib.name)?).into_owned())
        };
        match command.cmd() {
            object::macho::LC_ID_DYLIB => dylib.install_name = name(command.data()?)?,
            object::macho::LC_LOAD_DYLIB => dylib.libraries.push(name(command.data()?)?),
            object::macho::LC_UUID => dylib.uuid = Some(command.data::<UuidCommand<Endianness>>()?.uuid),
            _ => {}
        }
    }
    // Mach-O has names only; ordinals are of other formats.
    for export in file.exports()? {
        dylib.exports.extend(export?.name().name().map(c_name));
    }
    for import in file.imports()? {
        dylib.imports.extend(import?.name().name().map(c_name));
    }
    dylib.exports.sort_unstable();
    dylib.imports.sort_unstable();
    Ok(dylib)
}

fn c_name(symbol: &[u8]) -> String {
    let symbol = String::from_utf8_lossy(symbol);
    symbol.strip_prefix('_').unwrap_or(&symbol).to_owned()
}

/// Fails unless the library is what its framework and the interface say.
pub fn verify(dylib: &Dylib, platform: &Platform, exported: &[String]) -> Result {
    let name =
        |value: u32| PLATFORMS.iter().find(|p| p.macho_platform == value).map_or("another platform", |p| p.slice);
    if dylib.platform != platform.macho_platform {
        return Err(format!("the library is for {}, not {}", name(dylib.platform), platform.slice).into());
    }
    if dylib.minimum_os != platform.minimum_os {
        return Err(format!("the library needs {}, its Info.plist {}", dylib.minimum_os, platform.minimum_os).into());
    }
    if dylib.install_name != platform.install_name() {
        return Err(format!("the install name is {}, not {}", dylib.install_name, platform.install_name()).into());
    }
    if dylib.uuid.is_none() {
        return Err("the library has no UUID: its dSYM could not be found".into());
    }
    let missing: Vec<_> = exported.iter().filter(|name| !dylib.exports.contains(name)).collect();
    let surplus: Vec<_> = dylib.exports.iter().filter(|name| !exported.contains(name)).collect();
    if !missing.is_empty() || !surplus.is_empty() {
        return Err(format!("exported symbols: missing {missing:?}, not in the interface {surplus:?}").into());
    }
    // An app carries our framework and nothing else: whatever we ask for has to be part of the system.
    match dylib.libraries.iter().find(|l| !l.starts_with("/usr/lib/") && !l.starts_with("/System/Library/")) {
        Some(library) => Err(format!("the library asks for {library}").into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(platform: &Platform) -> Dylib {
        Dylib {
            platform: platform.macho_platform,
            minimum_os: platform.minimum_os.into(),
            install_name: platform.install_name(),
            uuid: Some([1; 16]),
            exports: vec!["mlxe_a".into()],
            imports: vec![],
            libraries: vec!["/usr/lib/libSystem.B.dylib".into()],
        }
    }

    #[test]
    fn verification_finds_every_fault() {
        let [ios, simulator, _] = &PLATFORMS;
        let exported = ["mlxe_a".to_owned()];
        verify(&good(ios), ios, &exported).unwrap();
        let fault = |change: fn(&mut Dylib), word: &str| {
            let mut dylib = good(ios);
            change(&mut dylib);
            let error = verify(&dylib, ios, &exported).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        fault(|d| d.minimum_os = "16.0".into(), "16.0");
        fault(|d| d.install_name = "/build/lib.dylib".into(), "/build/lib.dylib");
        fault(|d| d.uuid = None, "UUID");
        fault(|d| d.exports.push("mlx_add".into()), "mlx_add");
        fault(|d| d.exports.clear(), "mlxe_a");
        fault(|d| d.libraries.push("@rpath/libmlx.dylib".into()), "libmlx");
        // What a linker does not notice: a device's library in the simulator's slice.
        let error = verify(&good(ios), simulator, &exported).unwrap_err().to_string();
        assert!(error.contains("ios-arm64, not ios-arm64-simulator"), "{error}");
    }

    #[test]
    fn what_is_no_library_is_refused() {
        assert!(parse(b"").is_err());
        assert!(parse(&[0xcf, 0xfa, 0xed, 0xfe, 0, 0, 0]).is_err());
    }
}
