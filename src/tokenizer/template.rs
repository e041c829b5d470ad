use crate::error::{Error, Result};
use serde_json::{Map, Value};
#[derive(Clone, Debug, Default)]
pub struct TemplateOptions {
    pub tools: Option<Value>,
    pub documents: Option<Value>,
    pub add_generation_prompt: bool,
    pub continue_final_message: bool,
    pub name: Option<String>,
    pub template: Option<String>,
    pub variables: Map<String, Value>,
}
pub struct ChatTemplates {
    n: Vec<(String, String)>,
}
impl ChatTemplates {
    pub fn new(n: Vec<(String, String)>, _: Map<String, Value>) -> Result<Self> {
        Ok(ChatTemplates { n })
    }
    pub fn is_empty(&self) -> bool {
        self.n.is_empty()
    }
    pub fn render(&self, _: &Value, _: &TemplateOptions) -> Result<String> {
        Err(Error::template("stub"))
    }
}
