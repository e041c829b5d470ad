import Foundation

/// A model on the disk.
public struct StoredModel: Sendable, Hashable, Codable, Identifiable {
    /// One commit of a model.
    public struct Revision: Sendable, Hashable, Codable {
        /// Its commit.
        public let commit: String
        /// Branches and tags that point to it.
        public let refs: [String]
        /// Whether everything that a model needs is present.
        public let complete: Bool
        /// How many files it has.
        public let files: Int
        /// Their bytes; revisions share files that are the same.
        public let bytes: UInt64
        /// Where they are: what ``LanguageModel/load(directory:hub:engine:phaseHandler:)`` takes.
        public let directory: String
    }

    /// The model's name, `organisation/name`.
    public let id: String
    /// Whether it can be loaded.
    public let complete: Bool
    /// Bytes on the disk.
    public let bytes: UInt64
    /// Those of them that belong to incomplete files.
    public let partialBytes: UInt64
    /// When it was last loaded, otherwise when it was added, in seconds since 1970.
    public let lastUsed: UInt64
    /// How often it was loaded.
    public let uses: UInt64
    /// Its architecture, as `config.json` names it.
    public let modelType: String?
    /// Its revisions.
    public let revisions: [Revision]

    enum CodingKeys: String, CodingKey {
        case id, complete, bytes, uses, revisions
        case partialBytes = "partial_bytes"
        case lastUsed = "last_used"
        case modelType = "model_type"
    }
}

/// The result of a verification.
public struct VerificationReport: Sendable, Hashable, Codable {
    /// A problem.
    public struct Problem: Sendable, Hashable, Codable {
        /// The model; empty for what belongs to none.
        public let id: String
        /// The file, from the model's folder.
        public let file: String
        /// `missing`, `dangling`, `size`, `checksum`, `outside`, `unreadable`, `leftover` or `unreferenced`.
        public let problem: String
        /// A sentence for people.
        public let message: String
        /// Bytes it takes.
        public let bytes: UInt64
        /// Whether it was removed.
        public let fixed: Bool
    }

    /// The models that were verified.
    public let models: [String]
    /// Files whose content was read.
    public let files: Int
    /// Their bytes.
    public let bytes: UInt64
    /// Whether all models are intact. Leftovers and unreferenced files only take up space.
    public let sound: Bool
    /// What is wrong.
    public let problems: [Problem]
}

/// The result of moving the models directory.
public struct MoveReport: Sendable, Hashable, Codable {
    /// Where the models are now.
    public let directory: String
    /// The models that were moved.
    public let moved: [String]
    /// Models that stayed because they are in use, or because others of the same name are already there.
    public let stayed: [String]
}

/// The result of pruning.
public struct PruneReport: Sendable, Hashable, Codable {
    /// A removed model.
    public struct Removed: Sendable, Hashable, Codable {
        /// The model's name.
        public let id: String
        /// Bytes that were freed.
        public let bytes: UInt64
    }

    /// The removed models, least recently used first.
    public let removed: [Removed]
    /// Models that had to stay because they are in use.
    public let busy: [String]
    /// Bytes that the others take.
    public let bytes: UInt64
    /// Whether that is within the budget.
    public let withinBudget: Bool

    enum CodingKeys: String, CodingKey {
        case removed, busy, bytes
        case withinBudget = "within_budget"
    }
}
