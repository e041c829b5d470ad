#!/bin/bash
# usage: bench.sh LIBRARY-FOLDER
# Builds and runs swift/Benchmarks.
set -euo pipefail
cd "$(dirname "$0")/../.."
library=$(realpath "$1")
export MLX_ENGINE_LIB_DIR=$library BIND="$library $(dirname "$(realpath "$library/mlx-engine/mlx")")"
tools/swift/with-swift.sh swift build -c release --product streaming-benchmark
tools/swift/with-swift.sh .build/release/streaming-benchmark tests/fixtures/tiny-qwen3
