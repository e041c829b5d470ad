#!/bin/bash
# usage: check-foundation-models.sh WORK-FOLDER
# Compiles the bridge against a stand-in for Apple's framework, and runs it. Needs Swift and $MLX_ENGINE_LIB_DIR.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$1/foundation-models
mkdir -p "$work"
swiftc -swift-version 6 -emit-library -emit-module -module-name FoundationModels -user-module-version 2.0 \
    -o "$work/libFoundationModels.so" -emit-module-path "$work/FoundationModels.swiftmodule" \
    swift/Checks/FoundationModels/FoundationModels.swift
swiftc -swift-version 6 -warnings-as-errors -emit-library -emit-module -module-name MLXEngine -package-name mlxengine \
    -I "$work" -I include -L "$work" -lFoundationModels -L "$MLX_ENGINE_LIB_DIR" -lmlx_engine \
    -Xlinker --allow-shlib-undefined -o "$work/libMLXEngine.so" -emit-module-path "$work/MLXEngine.swiftmodule" \
    $(find swift/Sources/MLXEngine -name '*.swift')
swiftc -swift-version 6 -parse-as-library -I "$work" -I include -L "$work" -lFoundationModels -lMLXEngine \
    -L "$MLX_ENGINE_LIB_DIR" -lmlx_engine -Xlinker --allow-shlib-undefined -Xlinker -rpath -Xlinker "$work" \
    -Xlinker -rpath -Xlinker "$MLX_ENGINE_LIB_DIR" -o "$work/check" swift/Checks/FoundationModels/Check.swift
"$work/check" tests/fixtures/tiny-qwen3
