/// A message of a conversation. Codable, so that conversations can be saved and restored.
public struct ChatMessage: Sendable, Hashable, Codable {
    /// The author of a message. Templates may know more roles than have names here.
    public struct Role: RawRepresentable, Sendable, Hashable, Codable, CustomStringConvertible {
        /// The role's name in the chat template.
        public let rawValue: String

        /// The role's name.
        public var description: String {
            rawValue
        }

        /// A role by its name.
        public init(rawValue: String) {
            self.rawValue = rawValue
        }

        /// Instructions from the app.
        public static let system = Role(rawValue: "system")
        /// The user.
        public static let user = Role(rawValue: "user")
        /// The model.
        public static let assistant = Role(rawValue: "assistant")
        /// A tool that the model called.
        public static let tool = Role(rawValue: "tool")
    }

    /// A call of a tool.
    public struct ToolCall: Sendable, Hashable, Codable {
        /// The function and its arguments.
        public struct Function: Sendable, Hashable, Codable {
            /// The tool's name.
            public var name: String
            /// Its arguments, an object.
            public var arguments: JSONValue

            /// A tool with its arguments.
            public init(name: String, arguments: JSONValue) {
                self.name = name
                self.arguments = arguments
            }
        }

        /// The kind of tool.
        public var type: String
        /// The function and its arguments.
        public var function: Function

        /// A call of a function.
        public init(name: String, arguments: JSONValue) {
            type = "function"
            function = Function(name: name, arguments: arguments)
        }
    }

    /// The author.
    public var role: Role

    /// The text.
    public var content: String

    /// The tools that the model called with this message.
    public var toolCalls: [ToolCall]?

    /// A message.
    public init(role: Role, content: String, toolCalls: [ToolCall]? = nil) {
        self.role = role
        self.content = content
        self.toolCalls = toolCalls
    }

    /// A system message.
    public static func system(_ content: String) -> ChatMessage {
        ChatMessage(role: .system, content: content)
    }

    /// A user message.
    public static func user(_ content: String) -> ChatMessage {
        ChatMessage(role: .user, content: content)
    }

    /// A message from the model.
    public static func assistant(_ content: String, toolCalls: [ToolCall]? = nil) -> ChatMessage {
        ChatMessage(role: .assistant, content: content, toolCalls: toolCalls)
    }

    /// The result of a tool.
    public static func tool(_ content: String) -> ChatMessage {
        ChatMessage(role: .tool, content: content)
    }

    enum CodingKeys: String, CodingKey {
        case role, content
        case toolCalls = "tool_calls"
    }
}

/// How messages are rendered as a prompt.
public struct ChatTemplateOptions: Sendable, Hashable {
    /// Tools that the model may call, as JSON schemas of functions.
    public var tools: [JSONValue]

    /// Additional template variables, such as `["enable_thinking": false]`.
    public var variables: [String: JSONValue]

    /// A template to use instead of the model's own.
    public var template: String?

    /// Ends the prompt where the answer is to begin.
    public var addGenerationPrompt: Bool

    /// Options for rendering.
    public init(
        tools: [JSONValue] = [], variables: [String: JSONValue] = [:], template: String? = nil,
        addGenerationPrompt: Bool = true
    ) {
        self.tools = tools
        self.variables = variables
        self.template = template
        self.addGenerationPrompt = addGenerationPrompt
    }
}
