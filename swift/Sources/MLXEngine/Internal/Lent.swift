import CMLXEngine

/// Strings and lists that are lent to C for as long as this lives.
final class Lent {
    private var blocks: [UnsafeMutableRawPointer] = []

    deinit {
        for block in blocks {
            block.deallocate()
        }
    }

    /// Space for elements; not NULL, even for none.
    private func room<Element>(for count: Int, of: Element.Type) -> UnsafeMutablePointer<Element> {
        let block = UnsafeMutableRawPointer.allocate(
            byteCount: max(count * MemoryLayout<Element>.stride, 1), alignment: MemoryLayout<Element>.alignment)
        blocks.append(block)
        return block.bindMemory(to: Element.self, capacity: count)
    }

    /// A list, copied. Elements own nothing.
    func list<Element: BitwiseCopyable>(_ elements: [Element]) -> (UnsafePointer<Element>?, Int) {
        let room = room(for: elements.count, of: Element.self)
        room.initialize(from: elements, count: elements.count)
        return (UnsafePointer(room), elements.count)
    }

    /// A string, copied.
    func text(_ string: String) -> mlxe_str_t {
        let (data, count) = list(string.utf8.map { CChar(bitPattern: $0) })
        return mlxe_str_t(data: data, len: count)
    }

    /// Strings, copied; NULL for nil, which is not the same as none.
    func texts(_ strings: [String]?) -> (UnsafePointer<mlxe_str_t>?, Int) {
        strings.map { list($0.map(text)) } ?? (nil, 0)
    }
}

/// An optional number for C.
func optional(_ value: Int?) -> mlxe_opt_int_t {
    mlxe_opt_int_t(given: value != nil, value: Int64(value ?? 0))
}

/// An optional number for C.
func optional(_ value: UInt64?) -> mlxe_opt_u64_t {
    mlxe_opt_u64_t(given: value != nil, value: value ?? 0)
}

/// An optional number for C.
func optional(_ value: Float?) -> mlxe_opt_float_t {
    mlxe_opt_float_t(given: value != nil, value: Double(value ?? 0))
}

/// An optional number from C.
func value(_ number: mlxe_opt_int_t) -> Int? {
    number.given ? Int(number.value) : nil
}

/// An optional number from C.
func value(_ number: mlxe_opt_u64_t) -> UInt64? {
    number.given ? number.value : nil
}

/// Tokens with numbers for C.
func tokenValues(_ values: [Token: Float]) -> [mlxe_token_value_t] {
    values.map { mlxe_token_value_t(token: $0.key, value: $0.value) }
}
