//! The names of methods and filters.

use minijinja::Value;
use minijinja::value::ValueKind;

use super::objects::{Cycler, Generator};
use super::value::{Dict, Flavor, Seq};

pub(super) const FILTERS: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "length",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

const STR: &str = " capitalize casefold center count encode endswith expandtabs find format format_map index isalnum isalpha \
    isascii isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip \
    partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith \
    strip swapcase title translate maketrans upper zfill ";
const DICT: &str = " copy fromkeys get items keys values ";
const INT: &str = " bit_count bit_length conjugate is_integer as_integer_ratio ";
const FLOAT: &str = " conjugate is_integer as_integer_ratio hex ";

/// Whether `value.name` is a method. Those that change a list or a mapping are not there: the sandbox hides them.
pub(super) fn has_method(value: &Value, name: &str) -> bool {
    let known = match value.kind() {
        ValueKind::String => STR,
        ValueKind::Bool => INT,
        ValueKind::Number if value.is_integer() => INT,
        ValueKind::Number => FLOAT,
        ValueKind::Undefined | ValueKind::None => return false,
        _ if value.downcast_object_ref::<Dict>().is_some() => DICT,
        _ if value.downcast_object_ref::<Cycler>().is_some() => " next reset ",
        _ if value.downcast_object_ref::<Generator>().is_some() => " close ",
        _ => match value.downcast_object_ref::<Seq>().map(|seq| seq.flavor) {
            Some(Flavor::List) => " copy count index ",
            Some(Flavor::Tuple | Flavor::Group | Flavor::Range(..)) => " count index ",
            Some(Flavor::View("dict_keys" | "dict_items")) => " isdisjoint ",
            _ => return false,
        },
    };
    known.match_indices(name).any(|(at, _)| {
        let end = at + name.len();
        !name.is_empty() && known.as_bytes()[at - 1..].starts_with(b" ") && known.as_bytes().get(end) == Some(&b' ')
    })
}
