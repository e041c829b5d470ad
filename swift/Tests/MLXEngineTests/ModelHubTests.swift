import Foundation
import Testing

@testable import MLXEngine

/// The server of the Rust tests, as a program. tools/swift/test.sh says where it is.
final class TestHub {
    let endpoint: URL
    private let process = Process()
    private let input = Pipe()

    init(rate: Int = 0) throws {
        let path = try #require(ProcessInfo.processInfo.environment["MLXE_HUB_SERVER"])
        let output = Pipe()
        process.executableURL = URL(filePath: path)
        let models = ["org/tiny", "org/tiny-xet"].map { "\($0)=\(Fixtures.tiny.path)" }
        process.arguments = ["--rate", String(rate)] + models
        (process.standardInput, process.standardOutput) = (input, output)
        try process.run()
        var line = Data()
        while !line.contains(10) {
            let more = output.fileHandleForReading.availableData
            try #require(!more.isEmpty)
            line += more
        }
        let text = String(decoding: line, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        endpoint = try #require(URL(string: text))
    }

    func setRate(_ rate: Int) throws {
        try send("rate \(rate)")
    }

    /// Refuses the next large files that are asked for over plain HTTP.
    func forbidPlain(_ times: Int) throws {
        try send("forbid \(times)")
    }

    private func send(_ line: String) throws {
        try input.fileHandleForWriting.write(contentsOf: Data("\(line)\n".utf8))
    }

    deinit {
        try? input.fileHandleForWriting.close()
        process.waitUntilExit()
    }
}

@Suite(.enabled(if: ProcessInfo.processInfo.environment["MLXE_HUB_SERVER"] != nil))
struct ModelHubTests {
    static let slow = 300_000

    func withHub(rate: Int = 0, _ body: (ModelHub, TestHub) async throws -> Void) async throws {
        let server = try TestHub(rate: rate)
        let folder = FileManager.default.temporaryDirectory.appending(path: "mlx-hub-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let hub = try ModelHub(HubOptions(directory: folder, endpoint: server.endpoint.absoluteString))
        try await body(hub, server)
    }

    @Test func aDownloadTellsHowFarItIsAndCanBeLoaded() async throws {
        try await withHub { hub, _ in
            #expect(try await hub.models().isEmpty)
            let download = hub.download(id: "org/tiny")
            var last: ModelProgress?
            for try await progress in download {
                #expect(progress.bytesDone >= 0 && progress.fractionCompleted <= 1)
                last = progress
            }
            #expect(last?.fractionCompleted == 1 && last?.stage == .weights)
            let model = try await LanguageModel.load(directory: download.directory, hub: hub)
            #expect(model.info.modelType == "qwen3")
            let stored = try await hub.model(id: "org/tiny")
            #expect(stored.uses == 1 && stored.complete && stored.modelType == "qwen3")
            #expect(stored.revisions.first?.refs == ["main"])
            #expect(try await hub.models() == [stored])
            let report = try await hub.verify()
            #expect(report.sound && report.problems.isEmpty && report.models == ["org/tiny"])
            #expect(try await hub.remove(id: "org/tiny") == stored.bytes)
            #expect(await engineError { try await hub.model(id: "org/tiny") }?.code == .notFound)
        }
    }

    @Test func aModelIsLoadedByItsNameThroughTheHub() async throws {
        try await withHub { hub, server in
            let phases = Collected<LoadingPhase>()
            let model = try await hub.load("org/tiny") { phases.append($0) }
            #expect(model.info.name == "org/tiny" && phases.values.last == .ready)
            #expect(phases.values.contains { if case .downloadingWeights = $0 { true } else { false } })
            // From the disk, where the hub has no network; and by way of a configuration.
            let offline = try ModelHub(
                HubOptions(directory: hub.directory, endpoint: server.endpoint.absoluteString, offline: true))
            let configuration = ModelConfiguration(id: "org/tiny", hub: offline)
            #expect(try await LanguageModel.loading(configuration).model.info.name == "org/tiny")
            #expect(try await hub.model(id: "org/tiny").uses == 2)
            #expect(await engineError { try await offline.load("org/absent") }?.code == .notFound)
            #expect(hub == hub && hub != offline)
        }
    }

    @Test func aLoadThatDownloadsMovesWithinItsFile() async throws {
        try await withHub(rate: 2_000_000) { hub, _ in
            var updates: [LoadingUpdate] = []
            for try await update in hub.loading("org/tiny") {
                updates.append(update)
            }
            #expect(updates.first?.phase == .downloadingConfig && updates.last?.phase == .ready)
            let downloading = updates.filter { if case .downloadingWeights = $0.phase { true } else { false } }
            #expect(downloading.count > 5 && Set(downloading.map(\.estimatedProgress)).count > 5)
            let bytes = downloading.compactMap { $0.progress?.bytesDone }
            #expect(bytes == bytes.sorted())
            let progress = updates.map(\.estimatedProgress)
            #expect(progress == progress.sorted())
            // Thirty a second, and a few that have to be told.
            let time = (downloading.last?.elapsed ?? 0) - (downloading.first?.elapsed ?? 0)
            #expect(Double(downloading.count) < 30 * time + 5, "\(downloading.count) in \(time) s")
            // The second time it is on the disk.
            let phases = Collected<LoadingPhase>()
            _ = try await hub.load("org/tiny") { phases.append($0) }
            #expect(phases.values.first == .readingConfig && phases.values.last == .ready)
        }
    }

    @Test func aHostThatCannotBeFoundIsSaidAtOnce() async throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "mlx-hub-\(UUID().uuidString)")
        let hub = try ModelHub(HubOptions(directory: folder, endpoint: "http://nowhere.invalid"))
        let start = ContinuousClock.now
        let error = await engineError { try await hub.load("org/tiny") }
        #expect(error?.code == .network && error?.phase == "downloadingConfig")
        #expect(error?.summary.contains("nowhere.invalid") == true && error?.summary.contains("offline") == true)
        #expect(ContinuousClock.now - start < .seconds(10))
    }

    @Test func aDownloadPausesAndGoesOn() async throws {
        try await withHub(rate: Self.slow) { hub, server in
            let download = hub.download(id: "org/tiny")
            download.pause()
            var paused = false
            for try await progress in download {
                if progress.isPaused {
                    paused = true
                    try server.setRate(0)
                    download.resume()
                }
            }
            #expect(paused)
            #expect(try await hub.model(id: "org/tiny").complete)
        }
    }

    @Test func cancellingTheTaskCancelsTheDownload() async throws {
        try await withHub(rate: Self.slow) { hub, server in
            let download = hub.download(id: "org/tiny")
            let reader = Task {
                for try await progress in download where progress.stage == .weights {
                    withUnsafeCurrentTask { $0?.cancel() }
                }
            }
            await #expect(throws: CancellationError.self) { try await reader.value }
            await #expect(throws: CancellationError.self) { try await download.directory }
            // What has arrived is kept, and the next download ends well.
            try server.setRate(0)
            _ = try await hub.download(id: "org/tiny").directory
            #expect(try await hub.model(id: "org/tiny").complete)
        }
    }

    @Test func whatIsNotThereIsAnError() async throws {
        try await withHub { hub, _ in
            #expect(await engineError { try await hub.download(id: "org/absent").directory }?.code == .accessDenied)
            #expect(await engineError { try await hub.download(id: "../x").directory }?.code == .invalidArgument)
            let folder = URL(filePath: "/nowhere")
            #expect(await engineError { try await hub.importModel(from: folder, id: "a/b") }?.code == .notFound)
        }
    }

    @Test func modelsAreImportedMovedAndPruned() async throws {
        try await withHub { hub, server in
            let seen = Collected<ModelProgress>()
            let stored = try await hub.importModel(from: Fixtures.tiny, id: "local/tiny") { seen.append($0) }
            #expect(stored.complete && seen.values.last?.fractionCompleted == 1)
            let other = FileManager.default.temporaryDirectory.appending(path: "mlx-hub-\(UUID().uuidString)")
            defer { try? FileManager.default.removeItem(at: other) }
            #expect(try await hub.move(to: other).moved == ["local/tiny"])
            #expect(try await hub.models().isEmpty)
            let there = try ModelHub(
                HubOptions(directory: other, endpoint: server.endpoint.absoluteString, offline: true))
            #expect(try await there.prune(toFit: 0, keeping: ["local/tiny"]).removed.isEmpty)
            #expect(try await there.prune(toFit: 0, dryRun: true).removed.map(\.id) == ["local/tiny"])
            #expect(try await there.models().count == 1)
            #expect(try await there.prune(toFit: 0).withinBudget)
            #expect(try await there.models().isEmpty)
        }
    }
    @Test func modelsAreFoundAndMeasuredWithoutDownloadingThem() async throws {
        try await withHub { hub, _ in
            var query = ModelQuery(text: "tin")
            query.library = ""
            let page = try await hub.search(query)
            #expect(page.models.map(\.id) == ["org/tiny", "org/tiny-xet"] && page.next == nil && page.examined == 2)
            query.sizeClass = .xlarge
            #expect(try await hub.search(query).models.isEmpty)
            query.limit = 0
            #expect(await engineError { try await hub.search(query) }?.code == .invalidArgument)
            var request = MemoryRequest(context: 128, device: .cpu)
            let plain = try await hub.estimate(id: "org/tiny", for: request)
            #expect(plain.supported && plain.modelType == "qwen3" && plain.bits == 4 && plain.downloadBytes > 0)
            #expect(plain.memory.context == 128 && plain.memory.total > plain.memory.weights)
            request.keyValueBits = 4
            #expect(
                try await hub.estimate(id: "org/tiny", for: request).memory.keyValueCache < plain.memory.keyValueCache)
            request.keyValueBits = 7
            #expect(
                await engineError { try await hub.estimate(id: "org/tiny", for: request) }?.code == .invalidArgument)
            #expect(await engineError { try await hub.estimate(id: "org/absent") }?.code == .accessDenied)
            #expect(try await hub.models().isEmpty)
        }
    }

    @Test func aSearchCanBeCancelled() async throws {
        try await withHub { hub, _ in
            let search = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                return try await hub.search()
            }
            await #expect(throws: CancellationError.self) { try await search.value }
        }
    }

    @Test func aProxyIsUsed() async throws {
        try await withHub { _, server in
            let nowhere = "http://me:secret@127.0.0.1:1"
            let hub = try ModelHub(HubOptions(endpoint: server.endpoint.absoluteString, token: "", proxy: nowhere))
            let download = hub.download(id: "org/tiny")
            for try await progress in download where progress.retry != nil {
                #expect(progress.retry?.reason.contains("the proxy http://127.0.0.1:1") == true)
                #expect(progress.retry?.reason.contains("secret") == false)
                break
            }
            download.cancel()
        }
    }

    @Test func xetStorageIsUsedUnlessItIsTurnedOff() async throws {
        try await withHub { hub, server in
            // Whoever comes over plain HTTP is turned away.
            try server.forbidPlain(1000)
            let plain = try ModelHub(
                HubOptions(directory: hub.directory, endpoint: server.endpoint.absoluteString, disableXet: true))
            #expect(await engineError { try await plain.download(id: "org/tiny-xet").directory }?.code == .accessDenied)
            _ = try await hub.download(id: "org/tiny-xet").directory
            #expect(try await hub.model(id: "org/tiny-xet").complete)
        }
    }

    @Test func aHubsCatalogueCanBeExtended() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "mlx-hub-\(UUID().uuidString)")
        let (catalog, other) = (try ModelHub(directory: folder).catalog, try ModelHub(directory: folder).catalog)
        let known = try catalog.models()
        #expect(known.count >= 10 && known.allSatisfy { $0.isSupported && $0.weightBytes > 0 })
        let mine = ModelCatalog.Entry(
            id: "mine/model", name: "Mine", shortName: "mine-model", parameters: 64, bits: 4,
            architecture: "warp_drive",
            context: 10)
        try catalog.add(mine)
        let found = try #require(try catalog.models().first { $0.id == "mine/model" })
        #expect(try other.models().map(\.id) == known.map(\.id))
        #expect(found.entry == mine && !found.isSupported && found.weightBytes == 36)
        #expect(throws: EngineError.self) {
            var bad = mine
            bad.id = "../x"
            try catalog.add(bad)
        }
    }
}
