//! The C struct, in the Rust from which the header is made, and its translation.

use super::rust::{types, variant};
use super::table::{Kind, Opt, Place, Table};
use super::text::{about, brief, comment, origin};

/// The fields of an option: name, type, and what is said of it.
fn fields(option: &Opt) -> Vec<(String, &'static str, String)> {
    let list = |kind| {
        vec![
            (option.name.clone(), kind, brief(option)),
            (format!("{}_count", option.name), "usize", "Its length.".to_owned()),
        ]
    };
    match option.kind {
        Kind::Bool => vec![(option.name.clone(), "bool", brief(option))],
        Kind::U32 | Kind::I32 => vec![(option.name.clone(), "mlxe_opt_int_t", brief(option))],
        Kind::Choice => {
            let doc = format!("{} {}*. Default: {}.", option.doc, option.c_prefix, super::text::default(option));
            vec![(option.name.clone(), "i32", doc)]
        }
        Kind::U64 | Kind::Bytes => vec![(option.name.clone(), "mlxe_opt_u64_t", brief(option))],
        Kind::Float => vec![(option.name.clone(), "mlxe_opt_float_t", brief(option))],
        Kind::Text | Kind::Path => vec![(option.name.clone(), "mlxe_str_t", brief(option))],
        Kind::Texts => list("*const mlxe_str_t"),
        Kind::Tokens => list("*const u32"),
        Kind::TokenValues => list("*const mlxe_token_value_t"),
    }
}

/// A statement that takes over what is given.
fn overlay(option: &Opt) -> String {
    let name = &option.name;
    match option.kind {
        Kind::Bool => format!("request.{name} |= self.{name};\n"),
        Kind::Text | Kind::Path => {
            let take = if option.kind == Kind::Path { "path" } else { "text" };
            format!(
                "// SAFETY: the caller's promise.
                overlay(&mut request.{name}, unsafe {{ {take}(self.{name}, \"options.{name}\") }}?);\n"
            )
        }
        Kind::Choice => {
            let values =
                option.choices.iter().map(|c| format!("({}, {})", constant(option, &c.name), variant(option, &c.name)));
            let values = values.collect::<Vec<_>>().join(", ");
            format!("overlay(&mut request.{name}, choice(self.{name}, &[{values}], \"options.{name}\")?);\n")
        }
        Kind::Texts | Kind::Tokens | Kind::TokenValues => {
            let take = match option.kind {
                Kind::Texts => "texts",
                Kind::Tokens => "tokens",
                _ => "token_values",
            };
            let overlay = if option.is_optional_list() { "overlay" } else { "overlay_list" };
            format!(
                "// SAFETY: the caller's promise.
                {overlay}(&mut request.{name}, unsafe {{ {take}(self.{name}, self.{name}_count, \"options.{name}\") }}?);\n"
            )
        }
        _ => format!("overlay(&mut request.{name}, self.{name}.get(\"options.{name}\")?);\n"),
    }
}

/// The constant of a choice in C.
fn constant(option: &Opt, name: &str) -> String {
    option.c_prefix.clone() + &name.to_uppercase()
}

/// The constants of all choices.
fn constants(table: &Table) -> String {
    let mut text = String::new();
    for option in table.options().filter(|o| o.kind == Kind::Choice) {
        if option.default.is_none() {
            text += &comment("/// ", &format!("Not given: {}.", super::text::default(option)));
            text += &format!("pub const {}: i32 = 0;\n", constant(option, "default"));
        }
        for (i, choice) in option.choices.iter().enumerate() {
            text += &comment("/// ", &choice.doc);
            text += &format!("pub const {}: i32 = {};\n", constant(option, &choice.name), option.choice_value(i));
        }
        text.push('\n');
    }
    text
}

/// The names of hand-written code that the file uses.
fn imports(table: &Table) -> String {
    let has = |kinds: &[Kind]| table.options().any(|o| kinds.contains(&o.kind));
    let mut types = vec!["mlxe_str_t"];
    let mut helpers = vec!["from_json", "overlay"];
    let known: [(&[Kind], &str, Option<&str>); 9] = [
        (&[Kind::Text], "", Some("text")),
        (&[Kind::Path], "", Some("path")),
        (&[Kind::Choice], "", Some("choice")),
        (&[Kind::U32, Kind::I32], "mlxe_opt_int_t", None),
        (&[Kind::U64, Kind::Bytes], "mlxe_opt_u64_t", None),
        (&[Kind::Float], "mlxe_opt_float_t", None),
        (&[Kind::TokenValues], "mlxe_token_value_t", Some("token_values")),
        (&[Kind::Tokens], "", Some("tokens")),
        (&[Kind::Texts], "", Some("texts")),
    ];
    for (kinds, name, helper) in known {
        if has(kinds) {
            types.extend((!name.is_empty()).then_some(name));
            helpers.extend(helper);
        }
    }
    if table
        .options()
        .any(|o| matches!(o.kind, Kind::Texts | Kind::Tokens | Kind::TokenValues) && !o.is_optional_list())
    {
        helpers.push("overlay_list");
    }
    types.sort_unstable();
    helpers.sort_unstable();
    format!(
        "use super::optional::{{{}}};\nuse super::options::{{self, Versioned}};\nuse super::{{{}}};\n",
        helpers.join(", "),
        types.join(", ")
    )
}

/// The module that `rust.file` is.
fn rust_path(table: &Table) -> String {
    let file = table.rust.file.trim_start_matches("src/").trim_end_matches(".rs");
    let module = file.rsplit_once('/').map_or(file, |(folder, _)| folder);
    format!("crate::{}::{}", module.replace('/', "::"), table.rust.name)
}

pub fn source(table: &Table, place: &Place) -> String {
    let name = &place.name;
    let mut text = format!("//! {} in C.\n//!\n//! {}\n\n{}", table.title, origin(table), imports(table));
    let options: Vec<&Opt> = table.options().collect();
    text += &format!("{}use crate::error::Result;\nuse {};\n\n", types(&options, "crate"), rust_path(table));
    text += &constants(table);
    let special = format!("Initialise with {}(). {}", place.function, place.doc);
    text += &comment("/// ", about(table, special.trim_end()).as_str());
    text += &format!("#[repr(C)]\n#[derive(Clone, Copy)]\npub struct {name} {{\n");
    text += &format!("    /// sizeof({name})\n    pub struct_size: usize,\n");
    text += &comment(
        "    /// ",
        "The same options as a JSON object with the names below as keys; unknown keys are errors. Fields that are set \
         take precedence. Copied, like all strings and lists, by the function that takes the options.",
    );
    text += "    pub json: mlxe_str_t,\n";
    let order = table.in_c_order();
    for option in &order {
        for (field, kind, doc) in fields(option) {
            text += &comment("    /// ", &doc);
            text += &format!("    pub {field}: {kind},\n");
        }
    }
    let first = match order.iter().find(|o| o.since.is_some()) {
        None => "size_of::<Self>()".to_owned(),
        Some(option) => format!("std::mem::offset_of!(Self, {})", fields(option)[0].0),
    };
    text += &format!(
        "}}

        // SAFETY: repr(C), begins with the size; C's bool has no forbidden patterns.
        unsafe impl Versioned for {name} {{
            const FIRST_SIZE: usize = {first};

            fn defaults() -> Self {{
                // SAFETY: numbers, bools and pointers, all of which may be zero: nothing is given.
                let nothing = unsafe {{ std::mem::zeroed() }};
                {name} {{ struct_size: size_of::<Self>(), ..nothing }}
            }}
        }}

        /// Sets no option. `size` is the sizeof of the struct; no more than that is written. Does nothing if `options`
        /// is NULL.
        #[unsafe(no_mangle)]
        pub unsafe extern \"C\" fn {function}(options: *mut {name}, size: usize) {{
            // SAFETY: the caller's struct is that large.
            unsafe {{ options::init(options, size) }}
        }}

        impl {name} {{
            /// What the caller asks for.
            ///
            /// # Safety
            /// The texts and lists are valid.
            pub(super) unsafe fn request(&self) -> Result<{request}> {{
                // SAFETY: the caller's promise.
                let mut request: {request} = unsafe {{ from_json(self.json, \"options.json\") }}?;
        ",
        function = place.function,
        request = table.rust.name
    );
    for option in table.options() {
        text += &overlay(option);
    }
    text += "Ok(request)\n}\n}\n";
    if place.readable {
        text += &format!(
            "\nimpl From<{}> for {name} {{ fn from(now: {}) -> Self {{ {name} {{\n",
            table.rust.name, table.rust.name
        );
        options.iter().for_each(|o| text += &format!("{0}: now.{0}.into(),\n", o.name));
        text += "..Versioned::defaults() } } }\n";
    }
    text
}
