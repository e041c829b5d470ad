#!/bin/bash
# usage: slices.sh CMLXEngine.xcframework CHECKSUM
# Asks SwiftPM which slice of the XCFramework it gives to the compiler for each platform, and what it thinks the
# archive's checksum is. Needs no Mac: the build stops where Apple's standard library is missing, after the slice was
# chosen.
set -euo pipefail
xcframework=$1 checksum=$2
project=$(cd "$(dirname "$0")/../.." && pwd)
with_swift=$project/tools/swift/with-swift.sh
if ! swift --version >/dev/null 2>&1 && [ ! -x "$with_swift" ]; then
    echo "there is no swift on PATH" >&2
    exit 1
fi

package=$(dirname "$xcframework")/package
rm -rf "$package"
mkdir -p "$package/Sources/Program" "$package/bin"
cp -R "$xcframework" "$package/CMLXEngine.xcframework"
cat >"$package/Package.swift" <<'SWIFT'
// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "Program", platforms: [.iOS(.v17), .macOS(.v14)],
    targets: [
        .binaryTarget(name: "CMLXEngine", path: "CMLXEngine.xcframework"),
        .target(name: "Program", dependencies: ["CMLXEngine"]),
    ])
SWIFT
echo 'import CMLXEngine' >"$package/Sources/Program/Program.swift"
# SwiftPM looks for Apple's libtool, and does not come to use it.
printf '#!/bin/sh\n' >"$package/bin/libtool"
chmod +x "$package/bin/libtool"
cat >"$package/ask.sh" <<'SH'
cd "$(dirname "$0")"
PATH="$PWD/bin:$PATH"
for triple in arm64-apple-ios17.0 arm64-apple-ios17.0-simulator arm64-apple-macosx14.0 arm64-apple-tvos17.0; do
    swift build --triple "$triple" --scratch-path ".build/$triple" -v >"$triple.log" 2>&1 || true
done
swift package compute-checksum ../CMLXEngine.xcframework.zip >checksum.log 2>&1 || true
SH
if swift --version >/dev/null 2>&1; then
    bash "$package/ask.sh"
else
    BIND=$(dirname "$xcframework") "$with_swift" bash "$package/ask.sh"
fi

fail() { echo "$1" >&2; tail -n 20 "$2" >&2; exit 1; }
# The folders that SwiftPM gave to the compiler for a triple, as slices.
slices() { grep -o '[^ "]*CMLXEngine.xcframework/[a-z0-9_-]*' "$package/$1.log" | sed 's:.*/::' | sort -u | tr '\n' ' '; }
expect() {
    local chosen
    chosen=$(slices "$1")
    [ "$chosen" = "$2 " ] || fail "SwiftPM chose '$chosen' for $1, not $2" "$package/$1.log"
    echo "SwiftPM: $1 gets $2"
}
expect arm64-apple-ios17.0 ios-arm64
expect arm64-apple-macosx14.0 macos-arm64
expect arm64-apple-ios17.0-simulator ios-arm64-simulator
# A platform that we have no slice for gets none: the check can fail.
[ -z "$(slices arm64-apple-tvos17.0)" ] || fail "SwiftPM chose a slice for tvOS" "$package/arm64-apple-tvos17.0.log"
[ "$(tail -1 "$package/checksum.log")" = "$checksum" ] || fail "SwiftPM's checksum is not $checksum" "$package/checksum.log"
echo "SwiftPM: checksum $checksum"
