import Foundation
import MLXEngine
import Observation

/// Shows the models in a folder: their size, whether they are supported, and whether they fit into memory.
@MainActor @Observable
public final class ModelBrowserViewModel {
    /// A model in the list.
    public struct Row: Identifiable, Sendable, Equatable {
        /// Its directory.
        public let directory: URL
        /// Its name.
        public let name: String
        /// Its architecture, as `config.json` names it.
        public let modelType: String
        /// Bits of a weight, if it is quantized.
        public let bits: Int?
        /// Bytes of its weight files.
        public let weightBytes: Int
        /// Whether the library can load it.
        public let isSupported: Bool
        /// Whether it fits into memory.
        public let fit: MemoryFit

        public var id: URL { directory }

        /// Its size, for people.
        public var size: String {
            ByteCountFormatter.string(fromByteCount: Int64(weightBytes), countStyle: .file)
        }

        /// Whether loading it makes sense.
        public var canLoad: Bool {
            isSupported && fit != .tooLarge
        }
    }

    /// What rows are sorted by.
    public enum Order: String, CaseIterable, Sendable {
        case name, size
    }

    /// The models found.
    public private(set) var rows: [Row] = []

    /// Why a folder could not be read.
    public private(set) var error: String?

    /// Text that a model's name or architecture must contain.
    public var filter = ""

    /// What rows are sorted by.
    public var order = Order.name

    /// A browser without models.
    public init() {}

    /// The rows to show.
    public var visibleRows: [Row] {
        rows
            .filter {
                filter.isEmpty || $0.name.localizedCaseInsensitiveContains(filter)
                    || $0.modelType.localizedCaseInsensitiveContains(filter)
            }
            .sorted { order == .name ? $0.name < $1.name : $0.weightBytes < $1.weightBytes }
    }

    /// Looks for models in a folder: directories in it that have a `config.json`.
    public func scan(_ folder: URL, available: Int = MemoryFit.availableBytes) async {
        do {
            rows = try await Self.models(in: folder, available: available)
            error = nil
        } catch {
            (rows, self.error) = ([], error.localizedDescription)
        }
    }

    /// Deletes a model.
    public func delete(_ row: Row) {
        do {
            try FileManager.default.removeItem(at: row.directory)
            rows.removeAll { $0.id == row.id }
        } catch {
            self.error = error.localizedDescription
        }
    }

    // Not on the main actor: it reads files.
    private nonisolated static func models(in folder: URL, available: Int) async throws -> [Row] {
        let supported = Set(try MLXEngineLibrary.supportedModelTypes())
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .compactMap { directory in
                guard let configuration = Configuration(in: directory) else { return nil }
                let files = try FileManager.default.contentsOfDirectory(
                    at: directory, includingPropertiesForKeys: [.fileSizeKey])
                let bytes = try files.filter { $0.pathExtension == "safetensors" }
                    .reduce(0) { try $0 + ($1.resourceValues(forKeys: [.fileSizeKey]).fileSize ?? 0) }
                return Row(
                    directory: directory, name: directory.lastPathComponent, modelType: configuration.model_type,
                    bits: configuration.quantization?.bits, weightBytes: bytes,
                    isSupported: supported.contains(configuration.model_type),
                    fit: MemoryFit(
                        weightBytes: bytes, cacheBytesPerToken: configuration.cacheBytesPerToken,
                        available: available))
            }
    }

    /// What the list needs of a `config.json`.
    private struct Configuration: Decodable {
        struct Quantization: Decodable {
            var bits: Int?
        }

        var model_type: String
        var quantization: Quantization?
        var num_hidden_layers: Int?
        var num_attention_heads: Int?
        var num_key_value_heads: Int?
        var hidden_size: Int?
        var head_dim: Int?

        /// Nil if there is no such file, or it is none of a model.
        init?(in directory: URL) {
            guard let data = try? Data(contentsOf: directory.appending(path: "config.json")), data.count < 4 << 20,
                let decoded = try? JSONDecoder().decode(Self.self, from: data)
            else { return nil }
            self = decoded
        }

        /// Keys and values in 16 bits. An untrusted file may hold any numbers.
        var cacheBytesPerToken: Int {
            func bounded(_ value: Int?, _ otherwise: Int) -> Int { min(max(value ?? otherwise, 0), 1 << 16) }
            let heads = bounded(num_attention_heads, 1)
            let width = bounded(head_dim, bounded(hidden_size, 0) / max(heads, 1))
            return 4 * bounded(num_hidden_layers, 0) * bounded(num_key_value_heads, heads) * width
        }
    }
}
