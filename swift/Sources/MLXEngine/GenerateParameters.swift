/// How to generate. By default the likeliest token is chosen each time, until the model ends its answer or its context
/// is full.
public struct GenerateParameters: Sendable, Hashable {
    /// Tokens at most; nil for no limit but the context's.
    public var maxTokens: Int?
    /// Positions at most, prompt and answer together; nil for what the model was made for.
    public var maxContext: Int?
    /// 0 chooses the likeliest token; higher values make the choice more random.
    public var temperature: Float
    /// Only the likeliest tokens of this probability together, 0 to 1; 1 is off.
    public var topP: Float
    /// Only this many of the likeliest tokens; 0 is off.
    public var topK: Int
    /// Only tokens at least this probable, relative to the likeliest, 0 to 1; 0 is off.
    public var minP: Float
    /// Factor on the logits of tokens seen before; nil is off.
    public var repetitionPenalty: Float?
    /// Subtracted from the logits of tokens seen before; nil is off.
    public var presencePenalty: Float?
    /// Subtracted for each time a token was seen; nil is off.
    public var frequencyPenalty: Float?
    /// How many of the latest tokens these penalties look at.
    public var repetitionContextSize: Int
    /// The same seed gives the same text; nil makes each generation different.
    public var seed: UInt64?
    /// Texts that end the answer; they are not part of it.
    public var stop: [String]
    /// More tokens that end the answer, beside the model's own.
    public var extraEOSTokens: [Token]
    /// Added to logits.
    public var logitBias: [Token: Float]
    /// Keeps only the first four and the latest positions, this many in all; nil keeps all.
    public var maxKVSize: Int?
    /// Bits of the quantized keys and values: 2, 3, 4, 5, 6 or 8; nil does not quantize them.
    public var kvBits: Int?
    /// Their group size: 32, 64 or 128.
    public var kvGroupSize: Int
    /// The position from which on a sequence is quantized.
    public var quantizedKVStart: Int
    /// Tokens of the prompt processed in one step; nil for a good number.
    public var prefillStepSize: Int?

    /// Parameters; those not given are off.
    public init(
        maxTokens: Int? = nil, maxContext: Int? = nil, temperature: Float = 0, topP: Float = 1, topK: Int = 0,
        minP: Float = 0, repetitionPenalty: Float? = nil, presencePenalty: Float? = nil,
        frequencyPenalty: Float? = nil, repetitionContextSize: Int = 20, seed: UInt64? = nil, stop: [String] = [],
        extraEOSTokens: [Token] = [], logitBias: [Token: Float] = [:], maxKVSize: Int? = nil, kvBits: Int? = nil,
        kvGroupSize: Int = 64, quantizedKVStart: Int = 0, prefillStepSize: Int? = nil
    ) {
        self.maxTokens = maxTokens
        self.maxContext = maxContext
        self.temperature = temperature
        self.topP = topP
        self.topK = topK
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.presencePenalty = presencePenalty
        self.frequencyPenalty = frequencyPenalty
        self.repetitionContextSize = repetitionContextSize
        self.seed = seed
        self.stop = stop
        self.extraEOSTokens = extraEOSTokens
        self.logitBias = logitBias
        self.maxKVSize = maxKVSize
        self.kvBits = kvBits
        self.kvGroupSize = kvGroupSize
        self.quantizedKVStart = quantizedKVStart
        self.prefillStepSize = prefillStepSize
    }
}
