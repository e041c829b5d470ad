//! Conversations.
#![forbid(unsafe_code)]

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::tokenizer::{TemplateOptions, Tokenizer};

/// A conversation with a model: its messages, and the prompt they make.
///
/// The session does no work itself. Add what the user says, generate after [`prompt`](Self::prompt), add the answer.
/// Messages are plain JSON and can be saved and restored.
#[derive(Clone)]
pub struct ChatSession {
    tokenizer: Tokenizer,
    messages: Vec<Value>,
    /// How messages are rendered: tools, template variables.
    pub template: TemplateOptions,
}

impl ChatSession {
    /// An empty conversation.
    ///
    /// # Errors
    /// If the tokenizer has no chat template.
    pub fn new(tokenizer: Tokenizer) -> Result<ChatSession> {
        if !tokenizer.has_chat_template() {
            return Err(Error::template("the model has no chat template, so it cannot hold a conversation"));
        }
        let template = TemplateOptions { add_generation_prompt: true, ..Default::default() };
        Ok(ChatSession { tokenizer, messages: Vec::new(), template })
    }

    /// The messages so far, each an object with `role` and `content`.
    pub fn messages(&self) -> &[Value] {
        &self.messages
    }

    /// Continues from saved messages.
    pub fn restore(&mut self, messages: Vec<Value>) {
        self.messages = messages;
    }

    /// Starts over; a system message is kept.
    pub fn clear(&mut self) {
        self.messages.retain(|m| m["role"] == "system");
    }

    /// Adds a message of `role` (`system`, `user`, `assistant`, `tool`).
    pub fn push(&mut self, role: &str, content: impl Into<String>) {
        self.messages.push(json!({"role": role, "content": content.into()}));
    }

    /// The token ids that ask the model for the next answer. Special tokens in messages are text; see
    /// [`Tokenizer::encode_chat`].
    pub fn prompt(&self) -> Result<Vec<u32>> {
        let messages = Value::Array(self.messages.clone());
        self.tokenizer.encode_chat(&messages, &self.template)
    }
}
