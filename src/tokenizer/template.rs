//! Chat templates: which one to use, what it is given, and rendering it as transformers does.
//!
//! A template is untrusted code from a model's repository. It runs with a budget of instructions, a limit on nesting
//! and a stack of its own, and sees nothing but what it is passed.

use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::OnceLock;
use time::PrimitiveDateTime;

use super::isolated::isolated;
use super::jinja::{Raised, Size, Template, from_json, is_space, json_size};
use crate::{Error, ErrorKind, Result};

/// The names that reasoning travels under; the first is the one that templates read today.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Stands behind the text to continue while the template renders, so that its end can be found. The blank shows
/// whether the template keeps the white space at the end of a message.
const CONTINUE_TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// The template to render with.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TemplateChoice {
    /// `tool_use` where there are tools and the model has a template of that name, else `default`.
    #[default]
    Auto,
    /// The model's template of this name.
    Named(String),
    /// This Jinja source.
    Inline(String),
}

/// What a chat template is given besides the messages.
#[derive(Clone, Debug, Default)]
pub struct TemplateOptions {
    /// An array of tools as JSON schemas (OpenAI's function format), passed through as they are.
    pub tools: Option<Json>,
    /// An array of objects with the documents for retrieval-augmented generation, passed through as they are.
    pub documents: Option<Json>,
    /// Whether to end with the header of a new assistant message.
    pub add_generation_prompt: bool,
    /// The field of the last message, usually `content`, whose text the model is to go on with. What the template
    /// writes behind that text is cut off. Excludes `add_generation_prompt`.
    pub continue_final_message: Option<String>,
    /// Which template to use.
    pub template: TemplateChoice,
    /// [`encode_chat`](super::Tokenizer::encode_chat) takes special tokens in messages, tools and documents for tokens,
    /// as it takes those of the template. For data that is trusted, and has them on purpose.
    pub special_tokens_in_data: bool,
    /// More variables, such as `enable_thinking`. They take precedence over the special tokens of the same name.
    pub variables: Map<String, Json>,
    /// The local time that `strftime_now` prints; `None` is now.
    pub now: Option<PrimitiveDateTime>,
}

/// A model's templates by name, each compiled when it is first used.
#[derive(Debug, Default)]
pub(super) struct ChatTemplates(BTreeMap<String, ChatTemplate>);

#[derive(Debug)]
struct ChatTemplate {
    source: String,
    compiled: OnceLock<Result<Template>>,
}

impl FromIterator<(String, String)> for ChatTemplates {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(templates: T) -> Self {
        let compiled = |(name, source)| (name, ChatTemplate { source, compiled: OnceLock::new() });
        ChatTemplates(templates.into_iter().map(compiled).collect())
    }
}

impl ChatTemplates {
    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The source of the template called `name`.
    pub fn source(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|template| template.source.as_str())
    }

    /// Renders `messages`. `special_tokens` are the variables the tokenizer contributes (`bos_token` and the like);
    /// `is_marked` says that there are marks in the data.
    pub fn apply(
        &self,
        messages: &Json,
        options: &TemplateOptions,
        special_tokens: &BTreeMap<String, String>,
        is_marked: bool,
    ) -> Result<String> {
        let job = || {
            let mut chat = Chat::new(messages, options)?;
            match self.choose(options)? {
                Chosen::Own(name, template) => {
                    let compile = || Template::compile(name, &template.source).map_err(template_error);
                    let compiled = template.compiled.get_or_init(compile).as_ref().map_err(Clone::clone)?;
                    chat.render(compiled, &template.source, options, special_tokens, is_marked)
                }
                Chosen::Inline(source) => {
                    let compiled = Template::compile("inline", source).map_err(template_error)?;
                    chat.render(&compiled, source, options, special_tokens, is_marked)
                }
            }
        };
        isolated(ErrorKind::Template, "rendering the chat template", job)?
    }

    /// Compiles all templates, which otherwise happens when they are first used.
    pub fn compile(&self) -> Result<()> {
        let job = || {
            self.0.iter().try_for_each(|(name, template)| {
                let compile = || Template::compile(name, &template.source).map_err(template_error);
                template.compiled.get_or_init(compile).as_ref().map(drop).map_err(Clone::clone)
            })
        };
        isolated(ErrorKind::Template, "compiling the chat template", job)?
    }

    fn choose<'a>(&'a self, options: &'a TemplateOptions) -> Result<Chosen<'a>> {
        let own = |name: &str| self.0.get_key_value(name).map(|(name, template)| Chosen::Own(name, template));
        let available = || self.names().collect::<Vec<_>>().join(", ");
        match &options.template {
            TemplateChoice::Inline(source) => Ok(Chosen::Inline(source)),
            TemplateChoice::Named(name) => own(name).ok_or_else(|| {
                Error::template(format!("the model has no chat template named `{name}`; it has: {}", available()))
            }),
            TemplateChoice::Auto if self.0.is_empty() => {
                Err(Error::template("the model has no chat template and none was given"))
            }
            TemplateChoice::Auto => {
                options.tools.as_ref().and_then(|_| own("tool_use")).or_else(|| own("default")).ok_or_else(|| {
                    Error::template(format!("none of the chat templates is the default: {}", available()))
                })
            }
        }
    }
}

enum Chosen<'a> {
    Own(&'a str, &'a ChatTemplate),
    Inline(&'a str),
}

/// The messages as the template gets to see them.
struct Chat {
    messages: Vec<Map<String, Json>>,
}

impl Chat {
    fn new(messages: &Json, options: &TemplateOptions) -> Result<Self> {
        let Json::Array(messages) = messages else {
            return Err(Error::invalid_argument("messages: must be an array of objects"));
        };
        if messages.is_empty() {
            return Err(Error::invalid_argument("messages: must not be empty"));
        }
        if let Some(Json::Array(documents)) = &options.documents
            && documents.iter().any(|document| !document.is_object())
        {
            return Err(Error::invalid_argument("documents: must be an array of objects"));
        }
        if options.add_generation_prompt && options.continue_final_message.is_some() {
            return Err(Error::invalid_argument(
                "add_generation_prompt and continue_final_message exclude each other: the one opens a new message, \
                 the other goes on with the last",
            ));
        }
        let messages = messages.iter().enumerate().map(|(i, message)| {
            let Json::Object(message) = message else {
                return Err(Error::invalid_argument(format!("messages[{i}]: must be an object")));
            };
            Ok(normalized(message))
        });
        Ok(Chat { messages: messages.collect::<Result<_>>()? })
    }

    fn render(
        &mut self,
        template: &Template,
        source: &str,
        options: &TemplateOptions,
        special_tokens: &BTreeMap<String, String>,
        is_marked: bool,
    ) -> Result<String> {
        let to_continue = match &options.continue_final_message {
            Some(field) => Some(self.mark_end(field, source)?),
            None => None,
        };
        let mut variables: BTreeMap<&str, minijinja::Value> = BTreeMap::new();
        variables.extend(special_tokens.iter().map(|(name, token)| (name.as_str(), token.as_str().into())));
        variables.extend(options.variables.iter().map(|(name, value)| (name.as_str(), from_json(value))));
        let messages: Vec<Json> = std::mem::take(&mut self.messages).into_iter().map(Json::Object).collect();
        let messages = Json::Array(messages);
        let (tools, documents) = (options.tools.as_ref(), options.documents.as_ref());
        variables.insert("messages", from_json(&messages));
        variables.insert("tools", tools.map_or(().into(), from_json));
        variables.insert("documents", documents.map_or(().into(), from_json));
        variables.insert("add_generation_prompt", options.add_generation_prompt.into());
        let inputs = || [Some(&messages), tools, documents].into_iter().flatten();
        let size = Size {
            bytes: source.len() + inputs().chain(options.variables.values()).map(json_size).sum::<usize>(),
            items: inputs().filter_map(Json::as_array).map(Vec::len).sum(),
        };
        let rendered = template.render(variables, size, options.now, is_marked).map_err(template_error)?;
        match to_continue {
            Some(text) => cut_at_mark(rendered, &text),
            None => Ok(rendered),
        }
    }

    /// Puts the tag behind the text to continue, and returns that text.
    fn mark_end(&mut self, field: &str, source: &str) -> Result<String> {
        let bad = |what: String| Err(Error::template(format!("continue_final_message: {what}")));
        let Some(last) = self.messages.last_mut() else {
            return bad("there is no message to continue".into());
        };
        let Some(wanted) = last.get(field).cloned() else {
            return bad(format!("the last message has no `{field}`"));
        };
        // Reasoning has copies under several names; the template reads one of them.
        let fields: Vec<&str> = match REASONING.contains(&field) {
            true => REASONING.into_iter().filter(|name| last.get(*name) == Some(&wanted)).collect(),
            false => vec![field],
        };
        if !fields.iter().any(|field| source.contains(field)) {
            return bad(format!("the chat template does not use the field `{field}`"));
        }
        match wanted {
            Json::String(text) => {
                for field in fields {
                    last.insert(field.to_owned(), Json::String(format!("{text}{CONTINUE_TAG}")));
                }
                Ok(text)
            }
            Json::Array(_) => {
                let parts = last.get_mut(field).and_then(Json::as_array_mut).into_iter().flatten();
                match parts.rev().find_map(|part| part.get_mut("text")) {
                    Some(Json::String(text)) => {
                        let wanted = text.clone();
                        text.push_str(CONTINUE_TAG);
                        Ok(wanted)
                    }
                    _ => bad(format!("there is no text in the last message's `{field}`")),
                }
            }
            _ => bad(format!("the last message's `{field}` is not text")),
        }
    }
}

/// Cuts a rendering behind the text that is to be continued.
fn cut_at_mark(mut rendered: String, text: &str) -> Result<String> {
    let tag = CONTINUE_TAG.trim_end();
    let at = rendered.rfind(tag).filter(|_| rendered.contains(text.trim_matches(is_space)));
    let Some(at) = at else {
        return Err(Error::template(
            "continue_final_message: the last message does not appear in what the chat template rendered",
        ));
    };
    let kept_space = rendered[at..].starts_with(CONTINUE_TAG);
    rendered.truncate(at);
    if !kept_space {
        // The template trimmed the message, so what stood before the tag goes as well.
        rendered.truncate(rendered.trim_end_matches(is_space).len());
    }
    Ok(rendered)
}

/// A message without its null fields, and with reasoning under the names that templates read.
///
/// Clients send `"content": null` next to tool calls, and templates would print it.
fn normalized(message: &Map<String, Json>) -> Map<String, Json> {
    let present = |(key, value): (&String, &Json)| (!value.is_null()).then(|| (key.clone(), value.clone()));
    let mut message: Map<String, Json> = message.iter().filter_map(present).collect();
    if let Some(reasoning) = REASONING.iter().find_map(|name| message.get(*name)).cloned() {
        // `thinking` is what gpt-oss reads; it comes first so that a printed message looks as in transformers.
        if !message.contains_key("thinking") {
            message.shift_insert(0, "thinking".into(), reasoning.clone());
        }
        message.insert(REASONING[0].into(), reasoning);
    }
    message
}

/// The engine's error as ours. What the template itself raised is the whole message.
fn template_error(error: minijinja::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if let Some(Raised(message)) = current.downcast_ref() {
            return Error::template(message.clone());
        }
        cause = current.source();
    }
    if error.kind() == minijinja::ErrorKind::OutOfFuel {
        return Error::template(format!("{}: the chat template ran for too long", error.name().unwrap_or("default")));
    }
    // Only the text: the engine's error holds the template's variables, which must not outlive the thread that has the
    // stack to free them.
    Error::template(format!("chat template: {error}"))
}
