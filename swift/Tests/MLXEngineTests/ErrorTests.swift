import CMLXEngine
import Foundation
import Testing

@testable import MLXEngine

/// The header is the truth about numbers; these tests read it.
@Suite struct ErrorTests {
    static func constants(_ prefix: String) throws -> [String: Int32] {
        let header = try String(
            contentsOf: Fixtures.repository.appending(path: "include/mlx_engine.h"), encoding: .utf8)
        return Dictionary(
            uniqueKeysWithValues: header.split(separator: "\n").compactMap { line in
                let words = line.split(separator: " ")
                guard words.count == 3, words[0] == "#define", words[1].hasPrefix(prefix), let value = Int32(words[2])
                else { return nil }
                return (String(words[1].dropFirst(prefix.count)), value)
            })
    }

    /// `INVALID_ARGUMENT` is `invalidArgument`.
    static func swiftName(_ cName: String) -> String {
        let words = cName.lowercased().split(separator: "_")
        return words[0] + words.dropFirst().map(\.capitalized).joined()
    }

    @Test func everyCodeOfTheHeaderHasAName() throws {
        let codes = try Self.constants("MLXE_ERROR_")
        #expect(codes.count >= 17)
        for (name, value) in codes {
            #expect(EngineError.Code.names[.init(rawValue: value)] == Self.swiftName(name))
        }
        #expect(EngineError.Code.names.count == codes.count)
    }

    @Test func everyStopReasonOfTheHeaderHasAName() throws {
        let reasons = try Self.constants("MLXE_STOP_")
        #expect(Set(reasons.values) == Set(GenerateStopReason.names.keys.map(\.rawValue)))
        let names = ["EOS": "stop", "STRING": "stopText"]
        for (name, value) in reasons {
            #expect(GenerateStopReason(rawValue: value).description == names[name] ?? Self.swiftName(name))
        }
    }

    @Test func everyLevelAndPhaseOfTheHeaderIsKnown() throws {
        let levels = try Self.constants("MLXE_LOG_").filter { $0.key != "OFF" }
        #expect(
            Set(levels.values)
                == Set([.error, .warning, .info, .debug].map { (level: EngineLog.Level) in level.rawValue }))
        let phases = try Self.constants("MLXE_PHASE_")
        #expect(phases.count == 9)
        for value in phases.values {
            var event = mlxe_load_event_t()
            event.phase = value
            #expect(LoadingPhase(event) != nil)
        }
        var unknown = mlxe_load_event_t()
        unknown.phase = 99
        #expect(LoadingPhase(unknown) == nil)
    }

    @Test func everyCodeIsAnNSErrorOfItsOwn() {
        for code in EngineError.Code.names.keys {
            let error = EngineError(code, "in detail", summary: "in brief", phase: "loadingWeights") as NSError
            #expect(error.domain == "MLXEngine.EngineError" && error.code == Int(code.rawValue))
            #expect(error.localizedDescription == "in brief" && error.localizedFailureReason == "in detail")
            #expect(error.userInfo["MLXEnginePhase"] as? String == "loadingWeights")
        }
    }

    @Test func unknownCodesSurvive() {
        let error = EngineError(.init(rawValue: 4711), "from the future")
        #expect(error.code.rawValue == 4711 && error.description == "code 4711: from the future")
        #expect(error.localizedDescription == "from the future")
        #expect(GenerateStopReason(rawValue: 99).description == "reason 99")
    }
}
