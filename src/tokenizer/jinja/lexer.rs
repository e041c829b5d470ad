//! The tokens of a tag, as Jinja2 knows them.

use minijinja::Value;

use super::number;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Number(Value),
    Text(String),
    Op(&'static str),
}

pub(super) type Tokens = Vec<(Token, std::ops::Range<usize>)>;

/// The longer first.
const OPERATORS: [&str; 27] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";", "!",
];

pub(super) fn tokens(source: &str) -> Result<Tokens, String> {
    let mut tokens: Tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        let start = at;
        let rest = &source[at..];
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let token = if c == '_' || c.is_alphabetic() {
            let end = rest.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(rest.len());
            at += end;
            Token::Name(rest[..end].to_owned())
        } else if c.is_ascii_digit() {
            let after_dot = matches!(tokens.last(), Some((Token::Op("."), range)) if range.end == at);
            let (value, len) = number_literal(rest, !after_dot)?;
            at += len;
            Token::Number(value)
        } else if c == '"' || c == '\'' {
            let (text, len) = text_literal(rest, c)?;
            at += len;
            Token::Text(text)
        } else if let Some(op) = OPERATORS.into_iter().find(|op| rest.starts_with(op)) {
            at += op.len();
            Token::Op(op)
        } else {
            return Err(format!("unexpected char {c:?}"));
        };
        tokens.push((token, start..at));
    }
    Ok(tokens)
}

/// Digits with single underscores between them.
fn digits(text: &str, radix: u32) -> usize {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let continues =
            c.is_digit(radix) || (c == '_' && at > 0 && text[at + 1..].starts_with(|c: char| c.is_digit(radix)));
        if !continues {
            break;
        }
        end = at + 1;
    }
    end
}

fn number_literal(text: &str, may_be_float: bool) -> Result<(Value, usize), String> {
    let radix = match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => 16,
        Some("0o") => 8,
        Some("0b") => 2,
        _ => 10,
    };
    let too_large = || "the number is too large".to_owned();
    if radix != 10 {
        let start = 2 + usize::from(text[2..].starts_with('_'));
        let len = digits(&text[start..], radix);
        if len > 0 {
            let number = number::parse_int(&text[start..start + len], radix).ok_or_else(too_large)?;
            return Ok((number::int(number), start + len));
        }
    }
    let whole = digits(text, 10);
    let mut end = whole;
    if may_be_float {
        if text[end..].starts_with('.') {
            let fraction = digits(&text[end + 1..], 10);
            end += if fraction > 0 { 1 + fraction } else { 0 };
        }
        if text[end..].starts_with(['e', 'E']) {
            let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
            let power = digits(&text[end + 1 + sign..], 10);
            end += if power > 0 { 1 + sign + power } else { 0 };
        }
    }
    if end > whole {
        let float = number::parse_float(&text[..end]).ok_or_else(too_large)?;
        return Ok((Value::from(float), end));
    }
    // Python has no numbers that begin with a zero, but for zero itself.
    let whole = if text.starts_with('0') {
        text[..whole].len() - text[..whole].trim_start_matches(['0', '_']).len()
    } else {
        whole
    };
    let number = number::parse_int(&text[..whole.max(1)], 10).ok_or_else(too_large)?;
    Ok((number::int(number), whole.max(1)))
}

/// What a literal says, and how long it is with its quotes.
fn text_literal(source: &str, quote: char) -> Result<(String, usize), String> {
    let mut out = String::new();
    let mut chars = source.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Ok((out, at + 1));
        }
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some((at, c)) = chars.next() else { break };
        let mut code = |len: usize, from: usize| {
            let digits = source.get(from..from + len).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            let digits = digits.ok_or_else(|| format!("truncated \\{c} escape"))?;
            chars.nth(len - 1);
            let code = u32::from_str_radix(digits, 16).map_err(|e| e.to_string())?;
            // Half of a pair has no place in a text here.
            Ok::<_, String>(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
        };
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(c),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            'x' => out.push(code(2, at + 1)?),
            'u' => out.push(code(4, at + 1)?),
            'U' => out.push(code(8, at + 1)?),
            'N' => return Err("character names are not supported".into()),
            '0'..='7' => {
                let mut number = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|(_, c)| c.to_digit(8)) else { break };
                    chars.next();
                    number = number * 8 + digit;
                }
                out.extend(char::from_u32(number));
            }
            c => out.extend(['\\', c]),
        }
    }
    Err("unexpected end of a string".into())
}
