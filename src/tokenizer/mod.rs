use crate::error::{Error, Result};
#[derive(Clone)]
pub struct Tokenizer;
impl Tokenizer {
    pub fn from_directory(_: &std::path::Path) -> Result<Tokenizer> { Err(Error::tokenizer("stub")) }
    pub fn with_eos(self, _: &[u32]) -> Self { self }
    pub fn has_chat_template(&self) -> bool { false }
    pub fn eos_token_ids(&self) -> &[u32] { &[] }
    pub fn encode(&self, _: &str, _: bool) -> Result<Vec<u32>> { Ok(vec![]) }
    pub fn vocab_size(&self) -> usize { 0 }
    pub fn token_bytes(&self, _: u32) -> Option<Vec<u8>> { None }
}
pub struct StreamingDetokenizer;
impl StreamingDetokenizer {
    pub fn new(_: &Tokenizer) -> Self { StreamingDetokenizer }
    pub fn push(&mut self, _: u32) -> Result<String> { Ok(String::new()) }
    pub fn finish(&mut self) -> Result<String> { Ok(String::new()) }
}
