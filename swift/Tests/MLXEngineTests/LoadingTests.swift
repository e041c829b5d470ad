import Foundation
import Testing

@testable import MLXEngine

@Suite struct LoadingTests {
    @Test func phasesOfAColdLoadComeInOrder() async throws {
        let phases = Collected<LoadingPhase>()
        let updates = Collected<LoadingUpdate>()
        let model = try await LanguageModel.load(
            ModelConfiguration(directory: Fixtures.tiny), phaseHandler: { phases.append($0) },
            updateHandler: { updates.append($0) })
        #expect(
            phases.values == [
                .downloadingConfig,
                .loadingWeights(file: "model.safetensors", fileIndex: 1, totalFiles: 1),
                .loadingTokenizer, .initializingModel, .ready,
            ])
        let progress = phases.values.map(\.estimatedProgress)
        #expect(progress == progress.sorted() && progress.first == 0.01 && progress.last == 1)
        let fine = updates.values.map(\.estimatedProgress)
        #expect(fine == fine.sorted() && fine.last == 1)
        #expect(updates.values.contains { $0.bytesDone > 0 && $0.bytesDone == $0.bytesTotal })
        #expect(model.info.modelType == "qwen3")
        #expect(model.info.quantization == .init(mode: "affine", bits: 4, groupSize: 64))
    }
}
