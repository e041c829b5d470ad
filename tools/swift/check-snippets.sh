#!/bin/bash
# usage: check-snippets.sh WORK-FOLDER
# Type-checks what snippets.py wrote to WORK-FOLDER/snippets, after check-foundation-models.sh. Needs Swift.
set -euo pipefail
cd "$(dirname "$0")/../.."
modules=$1/foundation-models
for module in SwiftUI MLXLMCommon; do
    swiftc -swift-version 6 -emit-module -module-name $module -emit-module-path "$modules/$module.swiftmodule" \
        swift/Checks/$module/$module.swift
done
# Unused results are what examples are made of.
swiftc -swift-version 6 -typecheck -parse-as-library -module-name Snippets -I "$modules" -I include -suppress-warnings \
    "$1"/snippets/swift/*.swift
for manifest in "$1"/snippets/manifests/*; do
    swift package --package-path "$manifest" dump-package > /dev/null
done
swiftc -frontend -parse swift/Examples/Apps/*/*.swift
echo "snippets compile; the apps' views parse"
