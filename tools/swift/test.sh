#!/bin/bash
# usage: test.sh LIBRARY-FOLDER [INSTRUMENTED-LIBRARY-FOLDER]
# All tests of the Swift side, against the libmlx_engine in a folder that cargo filled: the package's tests, the examples,
# the chat on the command line, an app outside the tree, Apple's bridge on a stand-in, every snippet of the documentation
# and of doc comments, the documentation itself, formatting; and with a library made for ThreadSanitizer, the stress test
# under it.
set -euo pipefail
cd "$(dirname "$0")/../.."
library=$(realpath "$1") instrumented=${2:+$(realpath "$2")}
work=$PWD/.build
mkdir -p "$work"

# The library, and the MLX that it finds beside itself, wherever these are.
export BIND="$library $(dirname "$(realpath "$library/mlx-engine/mlx")") ${instrumented:-}"
export KEEP="MLXE_TEST_ROUNDS MLXE_HUB_SERVER"
export MLX_ENGINE_LIB_DIR=$library
in_swift() { tools/swift/with-swift.sh "$@"; }
step() { printf '\n== %s\n' "$*"; }

flags=(-Xswiftc -warnings-as-errors)

step "format"
in_swift swift format lint --strict --recursive Package.swift swift/Sources swift/Tests swift/Benchmarks swift/Checks \
    swift/Examples/Package.swift swift/Examples/Sources swift/Examples/Tests swift/Examples/Apps

# One test at a time: some measure memory.
# The server that downloads are tested with lies beside the library.
[ -x "$library/hub-server" ] || { echo "$library/hub-server is missing: cargo build --package hub-server" >&2; exit 1; }
export MLXE_HUB_SERVER=$library/hub-server

step "package"
in_swift swift test --no-parallel "${flags[@]}"

step "examples"
in_swift swift test --package-path swift/Examples --no-parallel "${flags[@]}"

step "chat on the command line"
answer=$(in_swift swift run --package-path swift/Examples --skip-build chat tests/fixtures/tiny-qwen3 \
    "What is the capital of France?" "Show me a rocket emoji." 2> "$work/chat.log")
expected='> What is the capital of France?
The capital of France is Paris.
> Show me a rocket emoji.
Here you are: 🚀'
[ "$answer" = "$expected" ] || { printf 'expected:\n%s\nfound:\n%s\n' "$expected" "$answer" >&2; cat "$work/chat.log" >&2; exit 1; }
grep -q '100% Ready' "$work/chat.log"
echo "$answer"

step "an app that depends on a version of the package"
if [ "$(uname)" = Darwin ]; then
    echo "not here: on macOS a version comes with its XCFramework"
else
    said=$(tools/swift/check-fresh-package.sh "$library" 2> "$work/fresh.log" | tail -1) || { cat "$work/fresh.log" >&2; exit 1; }
    [ "$said" = "The capital of France is Paris. Nairobi." ] || { printf 'found: %s\n' "$said" >&2; cat "$work/fresh.log" >&2; exit 1; }
    if grep -i "warning" "$work/fresh.log"; then exit 1; fi
    echo "$said"
fi

step "documentation"
python3 tools/swift/snippets.py "$work/snippets"
if [ "$(uname)" = Darwin ]; then
    echo "not here: the bridge and the snippets are checked on stand-ins for Apple's frameworks, on Linux only"
else
    in_swift tools/swift/check-foundation-models.sh "$work"
    in_swift tools/swift/check-snippets.sh "$work"
    clang -x objective-c -fobjc-arc -fblocks -fobjc-runtime=macosx -fsyntax-only -Wall -Wextra -Werror \
        -I swift/Checks/Foundation -I include "$work"/snippets/objc/*.m
fi
"${CXX:-c++}" -std=c++17 -fsyntax-only -Wall -Wextra -Werror -I include "$work"/snippets/cpp/*.cpp
in_swift tools/swift/docs.sh "$work"

if [ -n "$instrumented" ]; then
    step "ThreadSanitizer"
    export MLX_ENGINE_LIB_DIR=$instrumented
    # This library has no downloads.
    unset MLXE_HUB_SERVER
    # First that it sees a race where there is one.
    mkdir -p "$work/race"
    cat > "$work/race/race.swift" <<'SWIFT'
import Foundation
final class Shared: @unchecked Sendable { var count = 0 }
let shared = Shared()
// Slowly: what one of them did must still be known when the other comes.
func count() {
    for _ in 0..<300 {
        shared.count += 1
        Thread.sleep(forTimeInterval: 0.001)
    }
}
let other = Thread { count() }
other.start()
count()
Thread.sleep(forTimeInterval: 0.5)
SWIFT
    in_swift swiftc -sanitize=thread -o "$work/race/race" "$work/race/race.swift"
    if in_swift "$work/race/race" > "$work/race/log" 2>&1 || ! grep -q "race" "$work/race/log"; then
        echo "ThreadSanitizer does not find a race that is there:" >&2
        cat "$work/race/log" >&2
        exit 1
    fi
    # What it says of parts that are not instrumented: tests/c/tsan.supp.
    # The instrumented library is built without the hub.
    TSAN_OPTIONS="suppressions=$PWD/tests/c/tsan.supp halt_on_error=1" \
        in_swift swift test --sanitize=thread --scratch-path "$work/tsan" --no-parallel \
        --skip 'SoakTests/memory' --skip 'ModelHubTests' "${flags[@]}"
fi
