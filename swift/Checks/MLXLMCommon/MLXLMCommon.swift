// Stands in for mlx-swift-lm: it has nothing but the names that MLXEngine has too.
public struct LanguageModel {}
public struct ModelConfiguration {}
public struct Tokenizer {}
public struct Token {}
