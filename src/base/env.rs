//! Every environment variable that the library reads, and what it does. No other file reads the environment.

use std::path::PathBuf;

/// An environment variable: its name, and what it does in one or two sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// As it is set.
    pub name: &'static str,
    /// For a table in the documentation.
    pub about: &'static str,
}

impl Variable {
    /// Its value, trimmed; `None` if it is unset, empty or not UTF-8.
    pub fn text(self) -> Option<String> {
        trimmed(std::env::var(self.name).ok()?)
    }

    /// A file or a folder; `None` also if it is empty. `~`, `$NAME` and `${NAME}` are expanded as the Hub's Python libraries
    /// do it: not every place where variables are set has a shell.
    pub fn path(self) -> Option<PathBuf> {
        let value = std::env::var_os(self.name).filter(|v| !v.is_empty())?;
        match (self == HOME, value.to_str()) {
            (false, Some(text)) => Some(expanded(text, |name| std::env::var(name).ok())),
            _ => Some(PathBuf::from(value)),
        }
    }

    /// Whether it is true: `1`, `ON`, `YES` or `TRUE`, in any case.
    pub fn is_true(self) -> bool {
        self.text().is_some_and(|v| matches!(v.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
    }

    /// Whether it turns off what is on by default: `0`.
    pub fn is_off(self) -> bool {
        self.text().is_some_and(|v| v == "0")
    }

    /// The lower-case name with its value, otherwise the name as declared with its value. Proxies are set by either.
    pub fn in_either_case(self) -> Option<(String, String)> {
        self.in_either_case_of(|name| std::env::var(name).ok())
    }

    /// Like [`in_either_case`](Self::in_either_case), in another environment.
    pub fn in_either_case_of(self, get: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
        let text = |name: String| trimmed(get(&name)?).map(|text| (name, text));
        text(self.name.to_lowercase()).or_else(|| text(self.name.to_owned()))
    }
}

/// Unknown variables stay as they are.
fn expanded(text: &str, get: impl Fn(&str) -> Option<String>) -> PathBuf {
    shellexpand::full_with_context_no_errors(text, || get(HOME.name), &get).into_owned().into()
}

fn trimmed(text: String) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The folder in which compiled kernels are kept: `MLXE_CACHE_DIR`, else `mlx-engine` in the user's cache.
pub fn engine_cache() -> Option<PathBuf> {
    let own = || user_cache().map(|d| d.join("mlx-engine"));
    MLXE_CACHE_DIR.path().or_else(own)
}

/// The user's cache: `XDG_CACHE_HOME`, else `~/.cache`.
pub fn user_cache() -> Option<PathBuf> {
    XDG_CACHE_HOME.path().or_else(|| HOME.path().map(|d| d.join(".cache")))
}

/// A constant and a row of [`ALL`] for each variable.
macro_rules! variables {
    ($($name:ident: $about:literal,)+) => {
        $(
            #[doc = $about]
            pub const $name: Variable = Variable { name: stringify!($name), about: $about };
        )+
        /// All of them.
        pub const ALL: &[Variable] = &[$($name),+];
    };
}

variables! {
    MLXE_MODELS_DIR: "The models directory; otherwise `HF_HUB_CACHE`, `hub` in `HF_HOME`, or the system's default.",
    MLXE_CACHE_DIR: "Where compiled GPU kernels are kept (and, by the build, MLX itself); default: `mlx-engine` in \
        `XDG_CACHE_HOME`.",
    MLXE_THREADS: "Threads of the CPU kernels, unless the program sets them; default: one per core.",
    MLXE_CPU_KERNELS: "Lowers the instruction set of the CPU kernels: `portable`; `avx2`, `avx512`, `avx512bf16`; \
        `neon`, `neondot`, `neonbf16`.",
    MLXE_GPU_KERNELS: "`0` turns off the engine's own CUDA kernels; MLX's operations replace them.",
    MLXE_MMAP: "`0` reads weights into memory instead of mapping their files.",

    HF_ENDPOINT: "URL of the Hub or of a mirror; default: `https://huggingface.co`.",
    HF_TOKEN: "The access token for the Hub.",
    HUGGING_FACE_HUB_TOKEN: "The old name of `HF_TOKEN`.",
    HF_TOKEN_PATH: "The file with the access token; default: `token` in `HF_HOME`.",
    HF_HUB_DISABLE_IMPLICIT_TOKEN: "`1` sends no token unless the program sets one.",
    HF_HOME: "Where the Hub's Python libraries keep models and token; default: `huggingface` in `XDG_CACHE_HOME`.",
    HF_HUB_CACHE: "Where the Hub's Python libraries keep models; default: `hub` in `HF_HOME`.",
    HUGGINGFACE_HUB_CACHE: "The old name of `HF_HUB_CACHE`.",
    HF_HUB_OFFLINE: "`1` never uses the network.",
    TRANSFORMERS_OFFLINE: "As `HF_HUB_OFFLINE`.",
    HF_HUB_DISABLE_XET: "`1` downloads over plain HTTP only, not from Xet storage.",
    HF_HUB_DOWNLOAD_TIMEOUT: "How many seconds (1 to 3600) a connection may stall; default: 20.",

    HTTP_PROXY: "The proxy for `http` URLs; the lower-case name takes precedence.",
    HTTPS_PROXY: "The proxy for `https` URLs; the lower-case name takes precedence.",
    ALL_PROXY: "The proxy for both; the lower-case name takes precedence.",
    NO_PROXY: "Comma-separated hosts, domains and address blocks that are reached without a proxy.",
    SSL_CERT_FILE: "On Linux: a file of certificates to trust, read by the TLS library.",
    SSL_CERT_DIR: "On Linux: a folder of certificates to trust, read by the TLS library.",

    HOME: "The user's home folder.",
    XDG_CACHE_HOME: "The user's cache folder; default: `~/.cache`.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_may_have_a_tilde_and_variables() {
        let get = |name: &str| (name == "HOME" || name == "DISK").then(|| format!("/{}", name.to_lowercase()));
        for (text, path) in [
            ("~", "/home"),
            ("~/models", "/home/models"),
            ("$DISK/models", "/disk/models"),
            ("${DISK}s/$HOME", "/disks//home"),
            ("/a/~/b", "/a/~/b"),
            ("~other/x", "~other/x"),
            ("/a/$ABSENT/${ABSENT}", "/a/$ABSENT/${ABSENT}"),
            ("/a b/ü", "/a b/ü"),
            ("relative", "relative"),
        ] {
            assert_eq!(expanded(text, get), PathBuf::from(path), "{text}");
        }
    }

    #[test]
    fn each_variable_is_explained_once() {
        for (i, variable) in ALL.iter().enumerate() {
            assert!(variable.about.ends_with('.'), "{}", variable.name);
            assert!(ALL[..i].iter().all(|v| v.name != variable.name), "{}", variable.name);
        }
    }
}
