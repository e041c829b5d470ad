//! Models that the decoder's specification cannot express, one file each, named after their `model_type`, and their parts.

mod altup;
pub mod gemma3n;
