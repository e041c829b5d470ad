#!/bin/bash
# usage: make-root.sh DIR
# A minimal Debian trixie with Swift 6.0 and git, which SwiftPM needs for packages by their version, for a Debian host that has no Swift. Needs root. About 2 GB and two minutes.
set -euo pipefail
dir=$1 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
if [ "$(id -u)" != 0 ] || [ ! -e "$keyring" ]; then
    echo "there is no Swift 6 here, and a root that has it can only be made by root on Debian: install Swift 6" >&2
    exit 1
fi

# The host's own mirror, in either format of apt's sources.
mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null || true)
[ -n "$mirror" ] || mirror=$(awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^http/) { print $i; exit } }' /etc/apt/sources.list)

(cd "$work" && { apt-get download mmdebstrap || { apt-get update && apt-get download mmdebstrap; }; } >&2 && dpkg -x mmdebstrap_*.deb x)
mkdir -p "$(dirname "$dir")"
rm -rf "$dir.new"
# Debuggers and documentation are left out. libc6-dev is needed and nothing pulls it in.
PATH="$work/x/usr/bin:$PATH" mmdebstrap --quiet --mode=root --variant=apt \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/libexec/swift/bin/*lldb*' \
    --dpkgopt='path-exclude=/usr/libexec/swift/lib/liblldb*' --dpkgopt='path-exclude=/usr/libexec/swift/bin/clangd' \
    --dpkgopt='path-exclude=/usr/libexec/swift/bin/sourcekit-lsp' \
    --dpkgopt='path-exclude=/usr/libexec/swift/bin/repl_swift' \
    --dpkgopt='path-exclude=/usr/libexec/swift/lib/libsourcekitdInProc.so' \
    --include=swiftlang,libc6-dev,libstdc++-14-dev,git,ca-certificates \
    --keyring="$keyring" trixie "$dir.new" "$mirror" >&2
rm -f "$dir.new"/etc/apt/sources.list "$dir.new"/etc/apt/sources.list.d/*
# There whole or not at all.
rm -rf "$dir"
mv "$dir.new" "$dir"
