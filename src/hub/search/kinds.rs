//! Size classes and modalities of models.

use serde::{Deserialize, Serialize};

/// Models by their number of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SizeClass {
    /// Under 100 million.
    Tiny,
    /// Up to 1 billion.
    Small,
    /// Up to 7 billion.
    Medium,
    /// Up to 13 billion.
    Large,
    /// Above 13 billion.
    Xlarge,
}

impl SizeClass {
    /// The class of a number of parameters. A model sold as "7B" has a few more; the class is that of its name, so
    /// up to a tenth above a bound still counts as below.
    pub fn of(parameters: u64) -> SizeClass {
        let to = |bound: u64| parameters <= bound + bound / 10;
        match () {
            () if parameters < 100_000_000 => SizeClass::Tiny,
            () if to(1_000_000_000) => SizeClass::Small,
            () if to(7_000_000_000) => SizeClass::Medium,
            () if to(13_000_000_000) => SizeClass::Large,
            () => SizeClass::Xlarge,
        }
    }
}

/// What a model takes as input, by its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Text in, text out.
    Text,
    /// Images or video, with or without text.
    Image,
    /// Speech and sound, in or out.
    Audio,
    /// Text or images in, vectors out.
    Embedding,
    /// Anything else, or unknown.
    Other,
}

impl Modality {
    pub(super) fn of(task: Option<&str>, tags: &[String]) -> Modality {
        let tagged = |tag: &str| tags.iter().any(|t| t == tag);
        match task {
            Some(
                "text-generation" | "text2text-generation" | "translation" | "summarization" | "question-answering",
            ) => Modality::Text,
            Some("image-text-to-text" | "video-text-to-text" | "visual-question-answering" | "image-to-text") => {
                Modality::Image
            }
            Some("any-to-any") => Modality::Image,
            Some("feature-extraction" | "sentence-similarity" | "text-ranking" | "image-feature-extraction") => {
                Modality::Embedding
            }
            Some(task) if task.contains("audio") || task.contains("speech") => Modality::Audio,
            None if tagged("conversational") || tagged("text-generation") => Modality::Text,
            _ => Modality::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_class_of_their_name() {
        use SizeClass::*;
        for (n, class) in [
            (99_999_999, Tiny),
            (100_000_000, Small),
            (1_000_000_000, Small),
            (1_236_000_000, Medium),
            (7_620_000_000, Medium),
            (8_190_000_000, Large),
            (13_020_000_000, Large),
            (30_500_000_000, Xlarge),
        ] {
            assert_eq!(SizeClass::of(n), class, "{n}");
        }
    }
}
