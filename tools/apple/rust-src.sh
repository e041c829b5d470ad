#!/bin/bash
# usage: rust-src.sh VERSION
# Prints a folder with the sources of Rust's standard library that fit the compiler VERSION (1.97.0-nightly), for
# building it for targets whose compiled one is not installed. They are Debian's, of sid or testing, whichever is
# nearer; kept in the cache, and nothing is installed.
set -euo pipefail
wanted=$(cut -d. -f1,2 <<<"$1")
cache=${MLXE_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}}
[ -n "${MLXE_CACHE_DIR:-}" ] || cache=$cache/mlx-engine
folder=$cache/rust-src/$wanted

if [ ! -e "$folder/library/Cargo.lock" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # The host's own mirror, in either format of apt's sources.
    mirror=$(awk '/^URIs:/ && /debian/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
    [ -n "$mirror" ] || mirror=$(awk '$1 == "deb" && /debian/ { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' /etc/apt/sources.list 2>/dev/null || true)
    [ -n "$mirror" ] || { echo "this is no Debian with a mirror in apt's sources" >&2; exit 1; }
    # An apt of our own, so that the host's lists and packages stay as they are.
    mkdir -p "$work"/{parts,lists/partial,cache/archives/partial,debs}
    printf 'Types: deb\nURIs: %s\nSuites: sid testing\nComponents: main\nSigned-By: %s\n' \
        "$mirror" /usr/share/keyrings/debian-archive-keyring.gpg >"$work/parts/all.sources"
    chmod -R a+rX "$work" && chmod a+w "$work/debs"
    options=(-q=2 -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$work/parts" -o "Dir::State::lists=$work/lists"
        -o "Dir::Cache=$work/cache" -o Acquire::Check-Valid-Until=false -o Acquire::Check-Date=false
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
    apt-get "${options[@]}" update >&2
    versions=$(apt-cache "${options[@]}" madison rust-src | awk '{ print $3 }' | sort -Vu)
    version=$(grep -m1 "^${wanted//./\\.}\." <<<"$versions" || true)
    if [ -z "$version" ]; then
        version=$(tail -1 <<<"$versions")
        echo "Debian has rust-src $(tr '\n' ' ' <<<"$versions")and the compiler is $1: trying $version" >&2
    fi
    (cd "$work/debs" && apt-get "${options[@]}" download "rust-src=$version" >&2)
    mkdir "$work/root"
    dpkg --fsys-tarfile "$work"/debs/*.deb | tar -x -C "$work/root" --wildcards './usr/src/rustc-*/library'
    mkdir -p "$(dirname "$folder")"
    rm -rf "$folder.$$" && mkdir "$folder.$$"
    mv "$work"/root/usr/src/rustc-*/library "$folder.$$/library"
    # There whole or not at all, whoever else is at it.
    mv -T "$folder.$$" "$folder" 2>/dev/null || [ -e "$folder/library/Cargo.lock" ]
fi
echo "$folder/library"
