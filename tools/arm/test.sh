#!/bin/bash
# usage: test.sh
# Tests the CPU kernels for 64-bit Arm under QEMU, with the nightly compiler (NIGHTLY) and a standard library that comes
# with it or is built from its sources, or from Debian's.
set -euo pipefail
cd "$(dirname "$0")/../.."
nightly=+${NIGHTLY:-nightly}
target=aarch64-unknown-linux-gnu

std=()
rustlib=$(rustc "$nightly" --print sysroot)/lib/rustlib
if [ ! -e "$rustlib/$target/lib" ]; then
    std=(-Zbuild-std)
    if [ ! -e "$rustlib/src/rust/library/Cargo.lock" ]; then
        version=$(rustc "$nightly" --version | cut -d' ' -f2)
        # Cargo's way to say where the sources are, for tests of its own: the only one there is.
        __CARGO_TESTS_ONLY_SRC_ROOT=$(tools/apple/rust-src.sh "$version")
        export __CARGO_TESTS_ONLY_SRC_ROOT
    fi
fi

export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
test_on() {
    echo "== $1"
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu $1 -L /usr/aarch64-linux-gnu" \
        MLXE_REQUIRE_KERNELS=$2 cargo "$nightly" test --locked "${std[@]}" --target "$target" \
        --package mlx-engine-kernels --lib -- "${@:3}"
}
# All levels; then a processor that has only the first, which must not meet the instructions of others.
test_on max neonbf16
test_on cortex-a53 neon required bf16_products odd_widths several_parts attention
