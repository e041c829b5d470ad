//! Jinja's filters.

mod links;
mod lists;
mod order;
mod scalars;
mod select;
mod text;
mod wrap;

use minijinja::Value;

use super::args::Args;
use super::base::{Result, fail};
use super::json;

pub(super) type Filter = fn(Value, Args) -> Result<Value>;

pub(super) fn find(name: &str) -> Option<Filter> {
    Some(match name {
        "abs" => scalars::abs,
        "attr" => scalars::attr,
        "batch" => lists::batch,
        "capitalize" => text::capitalize,
        "center" => text::center,
        "count" | "length" => lists::length,
        "d" | "default" => scalars::default,
        "dictsort" => order::dictsort,
        "e" | "escape" => text::escape,
        "filesizeformat" => scalars::filesizeformat,
        "first" => lists::first,
        "float" => scalars::float,
        "forceescape" => text::forceescape,
        "format" => text::format,
        "groupby" => order::groupby,
        "indent" => text::indent,
        "int" => scalars::int,
        "items" => lists::items,
        "join" => lists::join,
        "last" => lists::last,
        "list" => lists::list,
        "lower" => text::lower,
        "map" => |value, args| select::map(value, args, apply),
        "max" => order::max,
        "min" => order::min,
        "pprint" => scalars::pprint,
        "random" => lists::random,
        "reject" => select::reject,
        "rejectattr" => select::rejectattr,
        "replace" => text::replace,
        "reverse" => lists::reverse,
        "round" => scalars::round,
        "safe" => text::safe,
        "select" => select::select,
        "selectattr" => select::selectattr,
        "slice" => lists::slice,
        "sort" => order::sort,
        "string" => text::string,
        "striptags" => text::striptags,
        "sum" => lists::sum,
        "title" => text::title,
        "tojson" => |value, args| json::to_json(&value, args),
        "trim" => text::trim,
        "truncate" => text::truncate,
        "unique" => order::unique,
        "upper" => text::upper,
        "urlencode" => text::urlencode,
        "urlize" => links::urlize,
        "wordcount" => wrap::wordcount,
        "wordwrap" => wrap::wordwrap,
        "xmlattr" => text::xmlattr,
        _ => return None,
    })
}

pub(super) fn apply(name: &str, value: Value, args: Args) -> Result<Value> {
    match find(name) {
        Some(filter) => filter(value, args),
        None => fail(format!("No filter named '{name}'.")),
    }
}
