//! Lets the program find MLX where the library's build has put it: beside the program, or in an installed tree.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Not set on Apple's systems, where MLX is linked statically.
    let run_paths = std::env::var("DEP_MLX_ENGINE_RUN_PATHS").unwrap_or_default();
    if !run_paths.is_empty() {
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags");
    }
    for path in run_paths.split(':').filter(|path| !path.is_empty()) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{path}");
    }
}
