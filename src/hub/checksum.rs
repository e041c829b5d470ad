//! The checksums by which the Hub names files.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use super::listing::RepoFile;

/// SHA-256 of a large file, or the id that git gives a small one.
pub(super) struct Checksum(Context);

impl Checksum {
    pub fn of(file: &RepoFile) -> Self {
        match file.sha256 {
            Some(_) => Checksum::sha256(),
            None => Checksum::git(file.size),
        }
    }

    pub fn sha256() -> Self {
        Checksum(Context::new(&SHA256))
    }

    /// Of a file of this many bytes.
    pub fn git(size: u64) -> Self {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(format!("blob {size}\0").as_bytes());
        Checksum(context)
    }

    /// Of the bytes alone, which some mirrors name files by.
    pub fn sha1() -> Self {
        Checksum(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn hex(self) -> String {
        self.0.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_files_like_git_and_the_hub() {
        let mut file = RepoFile { path: "a".into(), size: 6, blob_id: String::new(), sha256: None, xet_hash: None };
        let sum = |file: &RepoFile| {
            let mut sum = Checksum::of(file);
            sum.update(b"hel");
            sum.update(b"lo\n");
            sum.hex()
        };
        // `echo hello | git hash-object --stdin` and `echo hello | sha256sum`.
        assert_eq!(sum(&file), "ce013625030ba8dba906f756967f9e9ca394464a");
        file.sha256 = Some(String::new());
        assert_eq!(sum(&file), "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
    }
}
