/// Long work whose events one loop reads.
///
/// The work is cancelled when nobody can read its events any more: when this is gone without a loop, or, if the work is
/// for nothing but its events, when the loop is gone.
final class Observed<Event: Sendable>: Sendable {
    let events: EventQueue<Event>
    let slot = TaskSlot()
    private let isRead = Locked(false)
    private let endsWithLoop: Bool

    init(endsWithLoop: Bool, replaces: @escaping EventQueue<Event>.Replaces = { _, _ in false }) {
        events = EventQueue(replaces: replaces)
        self.endsWithLoop = endsWithLoop
    }

    deinit {
        if !endsWithLoop || !isRead.withLock({ $0 }) {
            slot.cancel()
        }
    }

    /// The reader for a loop. A second one gets an error instead of events.
    func makeReader() -> Reader {
        let isFirst = isRead.withLock { isRead in
            defer { isRead = true }
            return !isRead
        }
        return Reader(events: isFirst ? events : nil, slot: slot, work: endsWithLoop ? nil : self)
    }

    /// One loop over the events.
    final class Reader: Sendable {
        private let events: EventQueue<Event>?
        private let slot: TaskSlot
        /// What is not to end with this loop.
        private let work: Observed?

        fileprivate init(events: EventQueue<Event>?, slot: TaskSlot, work: Observed?) {
            (self.events, self.slot, self.work) = (events, slot, work)
        }

        deinit {
            if events != nil, work == nil {
                slot.cancel()
            }
        }

        /// The next event. Cancelling the task cancels the work, whose last events still come.
        func next() async throws -> Event? {
            guard let events else { throw EngineError.readTwice }
            return try await withTaskCancellationHandler {
                try await events.next()
            } onCancel: {
                slot.cancel()
            }
        }
    }
}
