import Foundation

/// Lets through as many updates of a load as a screen can show: every phase and whatever else a person has to be told,
/// and progress thirty times a second.
struct ScreenRate {
    static let interval: TimeInterval = 1 / 30

    private var last: LoadingUpdate?

    /// Whether an update is to be shown.
    mutating func shows(_ update: LoadingUpdate) -> Bool {
        guard let last, update.isWithinPhase(of: last), update.notice == last.notice else {
            last = update
            return true
        }
        let completes = update.progress?.fractionCompleted == 1 && last.progress?.fractionCompleted != 1
        guard completes || update.elapsed - last.elapsed >= Self.interval else { return false }
        self.last = update
        return true
    }
}

extension LoadingUpdate {
    /// Whether this tells of progress only: of the same phase, and the same file.
    func isWithinPhase(of other: LoadingUpdate) -> Bool {
        switch (phase, other.phase) {
        case (.downloadingWeights(_, let index, _, _), .downloadingWeights(_, let before, _, _)),
            (.loadingWeights(_, let index, _), .loadingWeights(_, let before, _)):
            index == before
        default:
            phase == other.phase
        }
    }

    /// What is to be told beside how far it is.
    fileprivate var notice: [String] {
        guard let progress else { return [] }
        let retry = progress.retry.map { "\($0.attempt) \($0.reason)" }
        return [retry ?? "", progress.isPaused ? "paused" : "", progress.waitingFor ?? ""]
    }
}
