#!/bin/bash
# usage: check-snippets.sh WORK-FOLDER
# Type-checks what snippets.py wrote to WORK-FOLDER/snippets, after check-foundation-models.sh. Needs Swift.
set -euo pipefail
cd "$(dirname "$0")/../.."
modules=$1/foundation-models
swiftc -swift-version 6 -emit-module -module-name SwiftUI -emit-module-path "$modules/SwiftUI.swiftmodule" \
    swift/Checks/SwiftUI/SwiftUI.swift
# Unused results are what examples are made of.
swiftc -swift-version 6 -typecheck -parse-as-library -module-name Snippets -I "$modules" -I include -suppress-warnings \
    "$1"/snippets/swift/*.swift
for manifest in "$1"/snippets/manifests/*; do
    swift package --package-path "$manifest" dump-package > /dev/null
done
swiftc -frontend -parse swift/Examples/Apps/*/*.swift
echo "snippets compile; the apps' views parse"
