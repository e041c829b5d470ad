//! Every environment variable that the library reads, with what it does: nobody else asks the system for one.

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
    /// Its text without surrounding space; `None` also if that is empty, or not UTF-8.
    pub fn text(self) -> Option<String> {
        trimmed(std::env::var(self.name).ok()?)
    }

    /// A file or a folder; `None` also if it is empty.
    pub fn path(self) -> Option<PathBuf> {
        std::env::var_os(self.name).filter(|v| !v.is_empty()).map(PathBuf::from)
    }

    /// Whether it says yes: `1`, `ON`, `YES` or `TRUE`, in letters of any size.
    pub fn is_true(self) -> bool {
        self.text().is_some_and(|v| matches!(v.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
    }

    /// Whether it turns off what is on by default: `0`.
    pub fn is_off(self) -> bool {
        self.text().is_some_and(|v| v == "0")
    }

    /// The name in small letters and its text, else the name as it stands here and its text. Proxies are known by both.
    pub fn in_either_case(self) -> Option<(String, String)> {
        self.in_either_case_of(|name| std::env::var(name).ok())
    }

    /// Like [`in_either_case`](Self::in_either_case), in another environment.
    pub fn in_either_case_of(self, get: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
        let text = |name: String| trimmed(get(&name)?).map(|text| (name, text));
        text(self.name.to_lowercase()).or_else(|| text(self.name.to_owned()))
    }
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
    MLXE_MODELS_DIR: "Where models are kept; else `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else the system's place.",
    MLXE_CACHE_DIR: "Where kernels compiled for the GPU are kept (and MLX itself, by the build); else `mlx-engine` in \
        `XDG_CACHE_HOME`.",
    MLXE_THREADS: "How many threads the CPU kernels use, if the program does not say; one a core if not set.",
    MLXE_CPU_KERNELS: "Lowers the CPU kernels to `portable`; `avx2`, `avx512`, `avx512bf16`; `neon`, `neondot`, \
        `neonbf16`.",
    MLXE_GPU_KERNELS: "`0` turns the engine's own CUDA kernels off; MLX's operations take their place.",
    MLXE_MMAP: "`0` reads weights into memory instead of mapping their files.",

    HF_ENDPOINT: "The Hub or a mirror of it; `https://huggingface.co` if not set.",
    HF_TOKEN: "The access token of the Hub.",
    HUGGING_FACE_HUB_TOKEN: "The old name of `HF_TOKEN`.",
    HF_TOKEN_PATH: "The file with the access token; `token` in `HF_HOME` if not set.",
    HF_HUB_DISABLE_IMPLICIT_TOKEN: "`1` sends no token that the program did not name.",
    HF_HOME: "Where the Hub's Python libraries keep models and token; `huggingface` in `XDG_CACHE_HOME` if not set.",
    HF_HUB_CACHE: "Where the Hub's Python libraries keep models; `hub` in `HF_HOME` if not set.",
    HUGGINGFACE_HUB_CACHE: "The old name of `HF_HUB_CACHE`.",
    HF_HUB_OFFLINE: "`1` never touches the network.",
    TRANSFORMERS_OFFLINE: "As `HF_HUB_OFFLINE`.",
    HF_HUB_DISABLE_XET: "`1` downloads over plain HTTP only, not from Xet storage.",
    HF_HUB_DOWNLOAD_TIMEOUT: "For how many seconds (1 to 3600) a connection may stand still; 20 if not set.",

    HTTP_PROXY: "The proxy for `http` addresses; small letters go before large ones.",
    HTTPS_PROXY: "The proxy for `https` addresses; small letters go before large ones.",
    ALL_PROXY: "The proxy for addresses of both kinds; small letters go before large ones.",
    NO_PROXY: "Hosts, domains and blocks of addresses that are reached without a proxy, separated by commas.",
    SSL_CERT_FILE: "On Linux: certificates to trust, read by the TLS library.",
    SSL_CERT_DIR: "On Linux: a folder of certificates to trust, read by the TLS library.",

    HOME: "The user's folder.",
    XDG_CACHE_HOME: "The user's cache; `~/.cache` if not set.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variable_is_explained_once() {
        for (i, variable) in ALL.iter().enumerate() {
            assert!(variable.about.ends_with('.'), "{}", variable.name);
            assert!(ALL[..i].iter().all(|v| v.name != variable.name), "{}", variable.name);
        }
    }
}
