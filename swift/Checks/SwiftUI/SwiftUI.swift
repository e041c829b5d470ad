// Stands in for the little of SwiftUI that the documentation's snippets use, so that they are type-checked on Linux.
@_exported import Foundation

@MainActor public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Body { get }
}

extension Never: View {
    public var body: Never { return fatalError() }
}

@resultBuilder public enum ViewBuilder {
    public static func buildBlock(_ content: any View...) -> Group { Group() }
    public static func buildEither(first: Group) -> Group { first }
    public static func buildEither(second: Group) -> Group { second }
    public static func buildOptional(_ content: Group?) -> Group { Group() }
}

public struct Group: View {
    public var body: Never { return fatalError() }
}

public struct VStack<Content: View>: View {
    public init(@ViewBuilder content: () -> Content) {}
    public var body: Never { return fatalError() }
}

public struct Text: View {
    public init(_ content: some StringProtocol) {}
    public var body: Never { return fatalError() }
}

public struct ProgressView: View {
    public init(value: Double?) {}
    public var body: Never { return fatalError() }
}

public struct Button: View {
    public init(_ title: some StringProtocol, action: @escaping @MainActor () -> Void) {}
    public var body: Never { return fatalError() }
}

@propertyWrapper public struct State<Value> {
    public var wrappedValue: Value
    public init(wrappedValue: Value) { self.wrappedValue = wrappedValue }
}

extension View {
    public func task(_ action: @escaping @Sendable @MainActor () async -> Void) -> some View { self }
}
