//! `str.isalpha` and its kin.

use super::super::base::is_space;
use super::super::print::is_printable;

/// The answer of the method `name`, if there is one that asks something of a text.
pub(super) fn call(text: &str, name: &str) -> Option<bool> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    Some(match name {
        "isalnum" => all(|c| is_alpha(c) || c.is_numeric()),
        "isalpha" => all(is_alpha),
        "isascii" => text.is_ascii(),
        "isdecimal" => all(is_decimal),
        "isdigit" => all(|c| is_decimal(c) || is_script_digit(c)),
        "isnumeric" => all(char::is_numeric),
        "isidentifier" => {
            let mut chars = text.chars();
            chars.next().is_some_and(|c| is_alpha(c) || c == '_') && chars.all(|c| c.is_alphanumeric() || c == '_')
        }
        "islower" => text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        "isupper" => text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        "isprintable" => text.chars().all(is_printable),
        "isspace" => all(is_space),
        "istitle" => {
            let (mut inside, mut found, mut right) = (false, false, true);
            for c in text.chars() {
                right &= if c.is_uppercase() { !inside } else { inside || !c.is_lowercase() };
                inside = c.is_uppercase() || c.is_lowercase();
                found |= inside;
            }
            found && right
        }
        _ => return None,
    })
}

fn is_alpha(c: char) -> bool {
    // Letters alone: Unicode's property takes marks and numbers for alphabetic too.
    c.is_alphabetic() && !c.is_numeric()
}

/// Superscripts, subscripts and circled digits.
fn is_script_digit(c: char) -> bool {
    matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⓪')
}

/// A decimal digit of some script: those come in runs of ten that begin where the last hexadecimal digit is 0 or 6.
fn is_decimal(c: char) -> bool {
    c.is_ascii_digit()
        || (c.is_numeric()
            && matches!(c as u32,
                0x660..=0x669 | 0x6f0..=0x6f9 | 0x7c0..=0x7c9 | 0x966..=0x96f | 0x9e6..=0x9ef | 0xa66..=0xa6f
                | 0xae6..=0xaef | 0xb66..=0xb6f | 0xbe6..=0xbef | 0xc66..=0xc6f | 0xce6..=0xcef | 0xd66..=0xd6f
                | 0xe50..=0xe59 | 0xed0..=0xed9 | 0xf20..=0xf29 | 0x1040..=0x1049 | 0x17e0..=0x17e9
                | 0x1810..=0x1819 | 0xff10..=0xff19 | 0x1d7ce..=0x1d7ff))
}
