#!/bin/bash
# usage: check-fresh-package.sh LIBRARY-FOLDER
# Builds and runs an app outside this tree that depends on this package as apps do: by the URL of a git repository and a
# version, with the library found by pkg-config, and with the one documented command.
set -euo pipefail
cd "$(dirname "$0")/../.."
library=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What a release has of this tree, as it is now.
git ls-files -z --cached --others --exclude-standard -- Package.swift include swift | xargs -0 cp --parents -t "$work" 2>/dev/null ||
    { echo "the tree has files that are gone" >&2; exit 1; }
mkdir -p "$work/mlx-engine" "$work/app/Sources/App" "$work/pkgconfig"
mv "$work"/{Package.swift,include,swift} "$work/mlx-engine/"
cp swift/Checks/FreshPackage/Package.swift "$work/app/"
cp swift/Checks/FreshPackage/App.swift "$work/app/Sources/App/"
sed -i "s|REPOSITORY|file://$work/mlx-engine|" "$work/app/Package.swift"
printf 'Name: MLXEngine\nDescription: as installed\nVersion: 1.2.3\nCflags: -I%s\nLibs: -L%s -lmlx_engine\n' \
    "$work/mlx-engine/include" "$library" > "$work/pkgconfig/mlx_engine.pc"

export BIND="${BIND:-} $work" KEEP="${KEEP:-} PKG_CONFIG_PATH LD_LIBRARY_PATH"
unset MLX_ENGINE_LIB_DIR
in_swift() { tools/swift/with-swift.sh "$@"; }
in_swift bash -euc '
    cd "$0/mlx-engine"
    git init --quiet --initial-branch main
    git add --all
    git -c user.name=test -c user.email=test@example.com commit --quiet --message "Release"
    git tag 1.2.3' "$work"
PKG_CONFIG_PATH=$work/pkgconfig in_swift bash -euc 'cd "$0" && swift build >&2' "$work/app"
LD_LIBRARY_PATH=$library in_swift "$work/app/.build/debug/App" "$PWD/tests/fixtures/tiny-qwen3"
