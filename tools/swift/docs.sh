#!/bin/bash
# usage: docs.sh WORK-FOLDER
# Builds the documentation into WORK-FOLDER/MLXEngine.doccarchive; any warning is an error. Needs Swift.
set -euo pipefail
cd "$(dirname "$0")/../.."
graphs=$1/symbol-graphs
rm -rf "$graphs" "$1/MLXEngine.doccarchive"
mkdir -p "$graphs"
swiftc -swift-version 6 -emit-module -emit-module-path "$graphs/MLXEngine.swiftmodule" -module-name MLXEngine \
    -package-name mlxengine -I include -emit-symbol-graph -emit-symbol-graph-dir "$graphs" \
    $(find swift/Sources/MLXEngine -name '*.swift')
docc convert swift/Sources/MLXEngine/MLXEngine.docc --additional-symbol-graph-dir "$graphs" \
    --fallback-display-name MLXEngine --fallback-bundle-identifier MLXEngine --warnings-as-errors \
    --output-path "$1/MLXEngine.doccarchive"
