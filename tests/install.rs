//! An installed tree: moved elsewhere, found by pkg-config and by CMake, used by programs outside the repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

mod support;
use support::{TempDir, write_case};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> String {
    // Cargo sets the first for its own folders.
    command.env_remove("LD_LIBRARY_PATH");
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{}\n{out}\n{err}", output.status);
    out
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        // `make test` installs them and lets nothing be skipped.
        assert!(std::env::var_os("MLXE_REQUIRE_TOOLS").is_none(), "{tool} is not installed");
        eprintln!("SKIPPED: {tool} is not installed");
    }
    found
}

/// Installs what Cargo has built beside this test, and moves it.
fn installed(dir: &Path) -> PathBuf {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_path_buf();
    // The layout of a profile's folder: the libraries beside mlx-engine.
    let built = dir.join("built");
    fs::create_dir(&built).unwrap();
    for name in ["libmlx_engine.so", "libmlx_engine.a"] {
        std::os::unix::fs::symlink(deps.join(name), built.join(name)).unwrap();
    }
    std::os::unix::fs::symlink(deps.join("../mlx-engine"), built.join("mlx-engine")).unwrap();
    // `make test` has built xtask with everything else; alone it has other features, and its dependencies take minutes.
    let mut xtask = match std::env::var_os("MLXE_TEST_PROGRAMS") {
        Some(folder) => Command::new(PathBuf::from(folder).join("xtask")),
        None => {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["run", "--quiet", "--package", "xtask", "--"]);
            cargo
        }
    };
    run(xtask.args(["install", "--prefix"]).arg(dir.join("first")).arg("--from").arg(&built).current_dir(root()));
    let moved = dir.join("moved elsewhere");
    fs::rename(dir.join("first"), &moved).unwrap();
    fs::remove_dir_all(&built).unwrap();
    moved
}

/// Runs a program, and sees that ours and MLX's libraries come from the installed tree.
fn works(program: &Path, prefix: &Path, model: &Path, shared: bool) {
    let libraries = run(Command::new("ldd").arg(program));
    assert!(!libraries.contains("not found"), "{libraries}");
    let prefix = prefix.canonicalize().unwrap();
    for name in if shared { &["libmlx_engine.so.1", "libmlx.so"][..] } else { &["libmlx.so"] } {
        let line = libraries.lines().find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{libraries}"));
        let path = line.split("=> ").nth(1).unwrap().rsplit_once(" (").unwrap().0;
        assert!(Path::new(path).canonicalize().unwrap().starts_with(&prefix), "{line}");
    }
    run(Command::new(program).arg(model));
}

/// A program may have an mlx-c or Rust code of its own beside the archive.
fn archive_has_the_interface_alone(prefix: &Path) {
    let listed = run(Command::new("nm").args(["-g", "--defined-only"]).arg(prefix.join("lib/libmlx_engine.a")));
    // Lines of an address, a kind and a name.
    let found: Vec<&str> = listed.lines().filter_map(|line| line.splitn(3, ' ').nth(2)).collect();
    let wanted = fs::read_to_string(root().join("tests/exported_symbols.txt")).unwrap();
    assert_eq!(found, wanted.lines().collect::<Vec<_>>());
}

#[test]
fn pkg_config() {
    if !has("pkg-config") {
        return;
    }
    let dir = TempDir::new("install");
    let prefix = installed(dir.path());
    archive_has_the_interface_alone(&prefix);
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    write_case("qwen3", &model, 1);
    for (compiler, source) in
        [("cc -std=c11", "smoke.c"), ("c++ -std=c++20", "modern.cpp"), ("c++ -std=c++17", "wrapper.cpp")]
    {
        for (mode, shared) in [("", true), ("--static", false)] {
            let program = dir.path().join(format!("{source}{mode}"));
            // Through the shell, as in a makefile: pkg-config escapes the space in the path.
            let static_first = if shared { "" } else { "-Wl,-Bstatic -lmlx_engine -Wl,-Bdynamic" };
            let script = format!(
                "eval {compiler} -D_GNU_SOURCE \"'$SOURCE'\" -o \"'$PROGRAM'\" \
                 $(pkg-config --cflags mlx_engine) $(pkg-config --libs-only-L mlx_engine) {static_first} \
                 $(pkg-config {mode} --libs mlx_engine) \
                 \"'-Wl,-rpath,$PREFIX/lib'\" \"'-Wl,-rpath,$PREFIX/lib/mlx-engine/mlx/lib'\" -pthread"
            );
            run(Command::new("sh")
                .arg("-c")
                .arg(script)
                .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
                .env("SOURCE", root().join("tests/c").join(source))
                .env("PROGRAM", &program)
                .env("PREFIX", &prefix)
                .current_dir(dir.path()));
            works(&program, &prefix, &model, shared);
        }
    }
}

#[test]
fn cmake() {
    if !has("cmake") {
        return;
    }
    let dir = TempDir::new("cmake");
    let prefix = installed(dir.path());
    let model = dir.path().join("model");
    fs::create_dir(&model).unwrap();
    write_case("qwen3", &model, 1);
    let project = dir.path().join("project");
    fs::create_dir(&project).unwrap();
    fs::write(
        project.join("CMakeLists.txt"),
        "cmake_minimum_required(VERSION 3.16)\n\
         project(outside C CXX)\n\
         find_package(mlx_engine 0.1 REQUIRED CONFIG)\n\
         add_executable(shared ${SOURCES}/smoke.c)\n\
         target_link_libraries(shared PRIVATE mlx_engine::mlx_engine)\n\
         add_executable(static ${SOURCES}/modern.cpp)\n\
         set_target_properties(static PROPERTIES CXX_STANDARD 20)\n\
         target_link_libraries(static PRIVATE mlx_engine::static)\n",
    )
    .unwrap();
    let build = dir.path().join("build");
    run(Command::new("cmake")
        .arg("-S")
        .arg(&project)
        .arg("-B")
        .arg(&build)
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()))
        .arg(format!("-DSOURCES={}", root().join("tests/c").display())));
    run(Command::new("cmake").arg("--build").arg(&build));
    works(&build.join("shared"), &prefix, &model, true);
    works(&build.join("static"), &prefix, &model, false);
    // Another series is refused.
    fs::write(
        project.join("CMakeLists.txt"),
        "cmake_minimum_required(VERSION 3.16)\nproject(outside C)\nfind_package(mlx_engine 7.0 CONFIG)\n\
         if(mlx_engine_FOUND)\nmessage(FATAL_ERROR \"found\")\nendif()\n",
    )
    .unwrap();
    run(Command::new("cmake")
        .arg("-S")
        .arg(&project)
        .arg("-B")
        .arg(dir.path().join("build2"))
        .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())));
}
