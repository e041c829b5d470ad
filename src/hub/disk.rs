//! The file system of the models directory: free space, errors, backups.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};

/// Space to leave free on the disk.
const MARGIN: u64 = 32 << 20;

/// A disk error: no space, no permission, or another error of the system.
pub(super) fn disk(path: &Path, error: io::Error) -> Error {
    use io::ErrorKind as Io;
    let kind = match error.kind() {
        Io::StorageFull | Io::QuotaExceeded => {
            return Error::new(ErrorKind::DiskFull, format!("no space left for {}", path.display())).with_source(error);
        }
        Io::ReadOnlyFilesystem | Io::PermissionDenied => ErrorKind::Io,
        _ => return Error::io(path, error),
    };
    Error::new(kind, format!("{}: the models directory cannot be written to", path.display())).with_source(error)
}

/// An error if `needed` bytes for `what` do not fit where `folder` is, or will be.
pub(super) fn check_room(folder: &Path, needed: u64, what: &str) -> Result<()> {
    let there = folder.ancestors().find(|p| p.is_dir()).unwrap_or(Path::new("/"));
    let Ok(stat) = rustix::fs::statvfs(there) else { return Ok(()) };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    match needed == 0 || needed.saturating_add(MARGIN) <= free {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::DiskFull,
            format!(
                "{what} needs {} more in {}, where {} are free, of which {} are kept for the system",
                human(needed),
                folder.display(),
                human(free),
                human(MARGIN)
            ),
        )),
    }
}

/// A number of bytes as people read it.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let unit = (bytes.max(1).ilog2() / 10) as usize;
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{:.2} {}", bytes as f64 / (1u64 << (10 * unit)) as f64, UNITS[unit]),
    }
}

/// Makes a rename durable across a power failure, where the file system can.
pub(super) fn sync_folder(folder: &Path) {
    let _ = fs::File::open(folder).and_then(|f| f.sync_all());
}

/// Creates the models directory. On Apple's systems it is excluded from backups: data that can be downloaded again does
/// not belong there, and apps are rejected for it.
pub(super) fn prepare(root: &Path) -> Result<()> {
    if !root.is_dir() {
        fs::create_dir_all(root).map_err(|e| disk(root, e))?;
    }
    #[cfg(target_vendor = "apple")]
    if let Err(error) = exclude_from_backup(root) {
        log::warn!("{}: cannot be excluded from backups: {error}", root.display());
    }
    Ok(())
}

/// What `NSURLIsExcludedFromBackupKey` sets.
#[cfg(target_vendor = "apple")]
fn exclude_from_backup(folder: &Path) -> rustix::io::Result<()> {
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(folder, "com.apple.metadata:com_apple_backup_excludeItem", &excluded(), flags)
}

/// The string `com.apple.backupd` as a binary property list.
#[cfg(any(test, target_vendor = "apple"))]
fn excluded() -> Vec<u8> {
    let text = b"com.apple.backupd";
    let mut plist = b"bplist00".to_vec();
    // An ASCII string whose length follows in one byte.
    plist.extend([0x5f, 0x10, text.len() as u8]);
    plist.extend(text);
    let table = plist.len() as u8;
    // The one object is at byte 8; then the trailer: sizes of offsets and references, count, root, place of the table.
    plist.push(8);
    plist.extend([0, 0, 0, 0, 0, 0, 1, 1]);
    plist.extend([0, 0, 0, 0, 0, 0, 0, 1]);
    plist.extend([0; 8]);
    plist.extend([0, 0, 0, 0, 0, 0, 0, table]);
    plist
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `plistlib.dumps("com.apple.backupd", fmt=plistlib.FMT_BINARY).hex()` of Python.
    #[test]
    fn the_mark_for_backups_is_a_property_list() {
        let hex: String = excluded().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "62706c69737430305f1011636f6d2e6170706c652e6261636b75706408000000000000010100000000000000010000000000000000000000000000001c"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        let folder = std::env::temp_dir().join("not/there/yet");
        check_room(&folder, 1, "a model").unwrap();
        let error = check_room(&folder, u64::MAX / 2, "a model").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DiskFull);
        let text = error.message();
        assert!(text.contains("a model needs 8.00 EiB more") && text.contains("of which 32.00 MiB are kept"), "{text}");
        assert_eq!([human(0), human(1023), human(1024), human(5 << 29)], ["0 B", "1023 B", "1.00 KiB", "2.50 GiB"]);
    }
}
