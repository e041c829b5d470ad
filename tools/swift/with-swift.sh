#!/bin/bash
# usage: with-swift.sh COMMAND...
# Runs a command where `swift` is Swift 6 or later: here, if it is; else in a Debian root of our own, made once and kept
# in the cache, in which this folder and those named in $BIND are at the same paths.
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)

version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\).*/\1/p' | head -1 || true)
if [ "${version:-0}" -ge 6 ]; then
    exec "$@"
fi

cache=${MLXE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}}
[ -n "${MLXE_CACHE_DIR:-}" ] || cache=$cache/mlx-engine
root=$cache/swift/trixie
# One without git was made by an earlier version of this script.
[ -x "$root/usr/bin/git" ] || { echo "making a Debian root with Swift in $root" >&2; "$(dirname "$0")/make-root.sh" "$root"; }

# What the command may need of the environment.
keep=()
for name in MLX_ENGINE_LIB_DIR MLX_ENGINE_XCFRAMEWORK TSAN_OPTIONS ${KEEP:-}; do
    [ -z "${!name:-}" ] || keep+=("$name=${!name}")
done
export root folders="$project ${BIND:-}" here=$PWD
exec unshare --mount --fork bash -euc '
    mkdir -p "$root/proc" "$root/dev"
    mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    for folder in $folders; do
        mkdir -p "$root$folder"
        mount --bind "$folder" "$root$folder"
    done
    exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/libexec/swift/bin LANG=C.UTF-8 \
        TERM=dumb bash -c "cd \"\$0\" && exec /usr/bin/env \"\$@\"" "$here" "$@"
' bash "${keep[@]}" "$@"
