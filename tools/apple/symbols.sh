#!/bin/bash
# usage: symbols.sh
# Prints a folder with what is needed of macOS to compile and link without Xcode: libSystem.tbd (the list of the
# system's symbols) and include/ (the C library's headers). Both are part of the Zig compiler's package, fetched by pip
# with a pinned hash; kept in the cache, and nothing is installed.
set -euo pipefail
version=0.17.0
sha256=97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b
cache=${MLXE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}}
[ -n "${MLXE_CACHE_DIR:-}" ] || cache=$cache/mlx-engine
folder=$cache/apple-symbols-$version

if [ ! -e "$folder/libSystem.tbd" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    echo "ziglang==$version --hash=sha256:$sha256" >"$work/requirement.txt"
    # One wheel, whatever this machine is: only its data is used.
    "${PYTHON:-python3}" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --platform manylinux_2_12_x86_64 --require-hashes --requirement "$work/requirement.txt" --dest "$work" >&2
    "${PYTHON:-python3}" - "$work"/*.whl "$work/made" <<'PYTHON'
import pathlib, sys, zipfile

wheel, made = zipfile.ZipFile(sys.argv[1]), pathlib.Path(sys.argv[2])
libc = "ziglang/lib/libc/"
parts = {libc + "include/any-darwin-any/": "include/", libc + "darwin/libSystem.tbd": "libSystem.tbd"}
for name in wheel.namelist():
    for start, place in parts.items():
        if name.startswith(start) and not name.endswith("/"):
            target = made / (place + name[len(start):])
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wheel.read(name))
PYTHON
    mkdir -p "$(dirname "$folder")"
    rm -rf "$folder.$$" && mv "$work/made" "$folder.$$"
    mv -T "$folder.$$" "$folder" 2>/dev/null || [ -e "$folder/libSystem.tbd" ]
fi
echo "$folder"
