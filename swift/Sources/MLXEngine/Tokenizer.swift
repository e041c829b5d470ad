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
    ///   - specialTokensAsText: `<|im_end|>` in the text becomes the tokens that spell it, not the one that ends a
    ///     message: for text from users that is put into a prompt. Added tokens that are not special (`<think>` in many
    ///     models) remain tokens.
    public func encode(
        _ text: String, addSpecialTokens: Bool = true, specialTokensAsText: Bool = false
    ) throws -> [Token] {
        guard let handle else { return text.unicodeScalars.map(\.value) }
        let encode = specialTokensAsText ? mlxe_tokenizer_encode_plain : mlxe_tokenizer_encode
        return try withStr(text) { text in
            try makeTokens { encode(handle.pointer, text, addSpecialTokens, &$0) }
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

    /// The token of a spelling in the vocabulary, such as `<|im_end|>`; nil if there is none.
    public func token(_ spelling: String) -> Token? {
        lookUp(spelling, mlxe_tokenizer_token_id)
    }

    /// The token with a role, such as `bos_token`, `pad_token` or one that the model names itself (`image_token`); nil if
    /// there is none.
    public func token(role: String) -> Token? {
        lookUp(role, mlxe_tokenizer_role_id)
    }

    private func lookUp(
        _ name: String, _ call: (OpaquePointer?, mlxe_str_t, UnsafeMutablePointer<Token>?) -> OpaquePointer?
    ) -> Token? {
        guard let handle else { return nil }
        return withStr(name) { name in
            var token: Token = 0
            guard let error = call(handle.pointer, name, &token) else { return token }
            mlxe_error_free(error)
            return nil
        }
    }

    /// All special tokens, in ascending order: those that ``decode(_:skipSpecialTokens:)`` can leave out.
    public func specialTokens() throws -> [Token] {
        guard let handle else { return [] }
        return try makeTokens { mlxe_tokenizer_special_tokens(handle.pointer, &$0) }
    }

    /// The bytes that a token adds to a text, not at its beginning. They need not be UTF-8: a token may be a part of a
    /// character.
    ///
    /// - Throws: ``EngineError`` `notFound` if there is no such token.
    public func bytes(of token: Token) throws -> [UInt8] {
        guard let handle else { return Array(try decode([token]).utf8) }
        let bytes = try make(free: { mlxe_string_free($0) }) {
            mlxe_tokenizer_token_bytes(handle.pointer, token, &$0)
        }
        let count = mlxe_string_len(bytes.pointer)
        return Array(UnsafeRawBufferPointer(start: mlxe_string_data(bytes.pointer), count: count))
    }

    /// Renders messages and encodes them: a prompt. Special tokens in messages and tools are text, so that `<|im_end|>`
    /// in a message cannot end it.
    public func encodeChat(
        _ messages: [ChatMessage], options: ChatTemplateOptions = ChatTemplateOptions()
    ) throws -> [Token] {
        guard let handle else { return try encode(applyChatTemplate(messages, options: options)) }
        return try withTemplate(messages, options) { messages, options in
            try makeTokens { mlxe_tokenizer_encode_chat(handle.pointer, messages, options, &$0) }
        }
    }

    /// Renders messages as a prompt in the format that the model was trained on. Encode it without special tokens.
    ///
    /// Text does not say which special tokens in it are the template's and which a user wrote:
    /// ``encodeChat(_:options:)`` does.
    public func applyChatTemplate(
        _ messages: [ChatMessage], options: ChatTemplateOptions = ChatTemplateOptions()
    ) throws -> String {
        guard let handle else {
            let end = options.addGenerationPrompt ? "assistant: " : ""
            return messages.map { "\($0.role): \($0.content)\n" }.joined() + end
        }
        return try withTemplate(messages, options) { messages, options in
            try makeString { mlxe_tokenizer_apply_chat_template(handle.pointer, messages, options, &$0) }
        }
    }

    /// Lends messages and options to C.
    private func withTemplate<Result>(
        _ messages: [ChatMessage], _ options: ChatTemplateOptions,
        _ body: (mlxe_str_t, UnsafePointer<mlxe_template_options_t>) throws -> Result
    ) throws -> Result {
        let lent = Lent()
        var c = mlxe_template_options_t()
        mlxe_template_options_init(&c, MemoryLayout<mlxe_template_options_t>.size)
        c.tools_json = lent.text(options.tools.isEmpty ? "" : try encodeJSON(options.tools))
        c.variables_json = lent.text(options.variables.isEmpty ? "" : try encodeJSON(options.variables))
        c.chat_template = lent.text(options.template ?? "")
        c.add_generation_prompt = options.addGenerationPrompt
        let messages = lent.text(try encodeJSON(messages))
        return try withExtendedLifetime(lent) { try body(messages, &c) }
    }
}
