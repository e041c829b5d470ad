import CMLXEngine
import Foundation

/// A token's id.
public typealias Token = UInt32

/// Turns text into tokens and back, and messages into prompts. Immutable; any thread.
///
/// Other packages have types of this name too: <doc:Names>.
public final class Tokenizer: Sendable {
    /// Nil for a ``StandInModel``, which has a token for each Unicode scalar.
    private let handle: Handle?

    /// The tokens that end an answer.
    public let eosTokens: [Token]

    /// How many values a Unicode scalar can have.
    static let scalars: UInt32 = 0x110000

    init(_ handle: Handle) throws {
        self.handle = handle
        eosTokens = try makeTokens { mlxe_tokenizer_eos_tokens(handle.pointer, &$0) }
    }

    init() {
        (handle, eosTokens) = (nil, [])
    }

    /// Reads the tokenizer of a model's directory without loading the model.
    ///
    /// - Throws: ``EngineError``
    public convenience init(directory: URL) throws {
        try self.init(
            withStr(try directory.checkedPath) { path in
                try make(free: { mlxe_tokenizer_free($0) }) { mlxe_tokenizer_open(path, &$0) }
            })
    }

    /// The number of tokens.
    public var vocabularySize: Int {
        handle.map { mlxe_tokenizer_vocab_size($0.pointer) } ?? Int(Self.scalars)
    }

    /// Whether there is a chat template.
    public var hasChatTemplate: Bool {
        handle.map { mlxe_tokenizer_has_chat_template($0.pointer) } ?? true
    }

    /// Turns text into tokens.
    ///
    /// - Parameters:
    ///   - text: The text.
    ///   - addSpecialTokens: Adds the tokens that the tokenizer puts around a text, such as beginning-of-sequence;
    ///     false for text from a chat template.
    public func encode(_ text: String, addSpecialTokens: Bool = true) throws -> [Token] {
        guard let handle else { return text.unicodeScalars.map(\.value) }
        return try withStr(text) { text in
            try makeTokens { mlxe_tokenizer_encode(handle.pointer, text, addSpecialTokens, &$0) }
        }
    }

    /// Turns tokens into text.
    ///
    /// - Parameters:
    ///   - tokens: The tokens.
    ///   - skipSpecialTokens: Leaves out tokens such as end-of-sequence.
    public func decode(_ tokens: [Token], skipSpecialTokens: Bool = false) throws -> String {
        guard let handle else {
            return String(String.UnicodeScalarView(tokens.compactMap(Unicode.Scalar.init)))
        }
        return try tokens.withUnsafeBufferPointer { tokens in
            try makeString {
                mlxe_tokenizer_decode(handle.pointer, tokens.baseAddress, tokens.count, skipSpecialTokens, &$0)
            }
        }
    }

    /// Renders messages as a prompt in the format that the model was trained on. Encode it without special tokens.
    public func applyChatTemplate(
        _ messages: [ChatMessage], options: ChatTemplateOptions = ChatTemplateOptions()
    ) throws -> String {
        guard let handle else {
            let end = options.addGenerationPrompt ? "assistant: " : ""
            return messages.map { "\($0.role): \($0.content)\n" }.joined() + end
        }
        let json = try encodeJSON(messages)
        let tools = options.tools.isEmpty ? "" : try encodeJSON(options.tools)
        let variables = options.variables.isEmpty ? "" : try encodeJSON(options.variables)
        return try withStr(json) { messages in
            try withStr(tools) { tools in
                try withStr(variables) { variables in
                    try withStr(options.template) { template in
                        var c = mlxe_template_options_t()
                        mlxe_template_options_init(&c, MemoryLayout<mlxe_template_options_t>.size)
                        c.tools_json = tools
                        c.variables_json = variables
                        c.chat_template = template
                        c.add_generation_prompt = options.addGenerationPrompt
                        return try makeString {
                            mlxe_tokenizer_apply_chat_template(handle.pointer, messages, &c, &$0)
                        }
                    }
                }
            }
        }
    }
}
