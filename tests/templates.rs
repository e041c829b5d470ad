//! Chat templates against goldens that transformers rendered (tests/fixtures/templates/generate.py).

use mlx_engine::ErrorKind;
use mlx_engine::tokenizer::{TemplateChoice, TemplateOptions, Tokenizer, TokenizerOptions, parse_template_data};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use time::macros::datetime;

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn golden(name: &str) -> Map<String, Value> {
    let path = tests().join("golden/templates").join(name).with_extension("json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A tokenizer that only lends its special tokens.
fn tokenizer(templates: &[(&str, &str)]) -> Tokenizer {
    let dir = tempfile::tempdir().unwrap();
    let model = json!({
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"<s>": 0, "</s>": 1, "<pad>": 2}, "unk_token": "<s>"}
    });
    let named = |(name, template): &(&str, &str)| json!({"name": name, "template": template});
    let config = json!({
        "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": false},
        "pad_token": "<pad>",
        "chat_template": templates.iter().map(named).collect::<Vec<_>>(),
    });
    fs::write(dir.path().join("tokenizer.json"), model.to_string()).unwrap();
    fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    Tokenizer::from_directory(dir.path(), TokenizerOptions::default()).unwrap()
}

fn options(given: &Map<String, Value>) -> TemplateOptions {
    let mut variables = given.clone();
    let mut take = |key: &str| variables.remove(key);
    TemplateOptions {
        tools: take("tools"),
        documents: take("documents"),
        add_generation_prompt: take("add_generation_prompt") == Some(Value::Bool(true)),
        continue_final_message: take("continue_final_message")
            .map(|field| field.as_str().unwrap_or("content").to_owned()),
        template: TemplateChoice::Auto,
        special_tokens_in_data: false,
        variables,
        now: Some(datetime!(2024-07-09 08:05:03)),
    }
}

/// What differs from the expected outcome, if anything does.
fn difference(tokenizer: &Tokenizer, messages: &Value, options: &TemplateOptions, expected: &Value) -> Option<String> {
    let got = tokenizer.apply_chat_template(messages, options);
    match (expected["text"].as_str(), expected["raised"].as_str(), got) {
        (Some(text), _, Ok(got)) if got == text => None,
        (Some(text), _, Ok(got)) => Some(format!("\n expected {text:?}\n      got {got:?}")),
        (Some(text), _, Err(error)) => Some(format!("\n expected {text:?}\n      got error {error}")),
        (_, Some(raised), Err(error)) if error.kind() == ErrorKind::Template && error.message() == raised => None,
        (_, None, Err(_)) => None,
        (_, _, got) => Some(format!("\n expected {expected}\n      got {got:?}")),
    }
}

#[test]
fn families_render_as_in_transformers() {
    let cases = golden("cases");
    let mut compared = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(tests().join("fixtures/templates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let sources: Vec<(String, String)> = if path.is_dir() {
            let files = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            files
                .map(|p| (p.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(p).unwrap()))
                .collect()
        } else if path.extension().is_some_and(|ext| ext == "jinja") {
            vec![("default".to_owned(), fs::read_to_string(&path).unwrap())]
        } else {
            continue;
        };
        let sources: Vec<_> = sources.iter().map(|(name, source)| (name.as_str(), source.as_str())).collect();
        let tokenizer = tokenizer(&sources);
        for (key, expected) in golden(&name) {
            let (choice, case) = key.split_once(':').map_or((None, key.as_str()), |(name, case)| (Some(name), case));
            let mut options = options(cases[case]["options"].as_object().unwrap());
            if let Some(choice) = choice {
                options.template = TemplateChoice::Named(choice.to_owned());
            }
            compared += 1;
            if let Some(difference) = difference(&tokenizer, &cases[case]["messages"], &options, &expected) {
                failures.push(format!("{name}/{key}: {difference}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared} differ:\n{}", failures.len(), failures.join("\n"));
    assert!(compared > 800, "only {compared} cases");
}

#[test]
fn features_render_as_in_transformers() {
    let golden = golden("snippets");
    let variables = golden["variables"].as_object().unwrap();
    let mut failures = Vec::new();
    for snippet in golden["snippets"].as_array().unwrap() {
        let source = snippet["template"].as_str().unwrap();
        let tokenizer = tokenizer(&[("default", source)]);
        if let Some(difference) = difference(&tokenizer, &golden["messages"], &options(variables), snippet) {
            failures.push(format!("{source:?}: {difference}"));
        }
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
}

/// Cases that tests/parity/templates.py made: those in the repository, and others where MLXE_TEMPLATE_CASES names them.
#[test]
fn cases_render_as_in_transformers() {
    let committed = tests().join("fixtures/templates/cases.jsonl");
    let given = std::env::var_os("MLXE_TEMPLATE_CASES").map(PathBuf::from);
    for path in [Some(committed), given].into_iter().flatten() {
        let (mut context, mut compared, mut failures) = (Map::new(), 0, Vec::new());
        for line in fs::read_to_string(path).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if let Some(new) = line["context"].as_object() {
                context = new.clone();
                continue;
            }
            let source = line["template"].as_str().unwrap();
            let mut variables = context.clone();
            let messages = variables.remove("messages").unwrap();
            compared += 1;
            if let Some(difference) =
                difference(&tokenizer(&[("default", source)]), &messages, &options(&variables), &line)
            {
                failures.push(format!("{source:?}: {difference}"));
            }
        }
        assert!(failures.is_empty(), "{} of {compared} differ:\n{}", failures.len(), failures.join("\n"));
        assert!(compared > 500, "only {compared} cases");
    }
}

fn apply(source: &str, messages: &Value, options: &TemplateOptions) -> mlx_engine::Result<String> {
    tokenizer(&[("default", source)]).apply_chat_template(messages, options)
}

fn hello() -> Value {
    json!([{"role": "user", "content": "Hello"}])
}

#[test]
fn runaway_templates_end_in_errors() {
    let loops = "{% for a in range(90000) %}{% for b in range(90000) %}{% for c in range(90000) %}{{ c }}\
                 {% endfor %}{% endfor %}{% endfor %}";
    let recursion = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    let recursive_loop = "{% for x in [messages] recursive %}{{ loop([x]) }}{% endfor %}";
    let mutual = "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}";
    let parentheses = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    let lists = format!("{{{{ {}", "[".repeat(100_000));
    let nots = format!("{{{{ {}1 }}}}", "not ".repeat(100_000));
    let minuses = format!("{{{{ {}1 }}}}", "-".repeat(100_000));
    let ifs = "{% if 1 %}".repeat(100_000);
    let conditions = format!("{{{{ {} 1 }}}}", "1 if 1 else ".repeat(100_000));
    let sums = format!("{{{{ 1 {} }}}}", "+ 1 ".repeat(50_000));
    let big = "{{ 'x' * 1000000000 }}";
    let self_include = "{% include 'default' %}";
    // Memory that doubles with each step, by each of the ways there are to build something.
    let double = |step: &str| {
        format!("{{% set ns = namespace(v='xxxxxxxx', l=[1]) %}}{{% for i in range(64) %}}{step}{{% endfor %}}")
    };
    let doublings = [
        "{% set ns.v = ns.v ~ ns.v %}",
        "{% set ns.v = ns.v + ns.v %}",
        "{% set ns.v = ns.v * 2 %}",
        "{% set ns.v %}{{ ns.v }}{{ ns.v }}{% endset %}",
        "{% set ns.v = ns.v|replace('x', 'xx') %}",
        "{% set ns.v = [ns.v, ns.v]|join %}",
        "{% set ns.v = '%s%s' % (ns.v, ns.v) %}",
        "{% set ns.v = '{0}{0}'.format(ns.v) %}",
        "{% set ns.l = ns.l + ns.l %}",
        "{% set ns.l = ns.l * 2 %}",
        "{% set ns.l = [ns.l, ns.l] %}{{ ns.l|tojson|length }}",
        "{% set ns.l = {'a': ns.l, 'b': ns.l} %}{{ ns.l|string|length }}",
        "{% filter indent(1000000) %}{{ '\\n' * 1000 }}{% endfilter %}",
        "{{ 'x'|center(10000000) }}",
    ]
    .map(double);
    let text = format!("{{% for i in range(100000) %}}{}{{% endfor %}}", "text ".repeat(100_000));
    let captured = format!("{{% set x %}}{text}{{% endset %}}");
    let call = "{% macro m(x) %}{{ caller(x) }}{% endmacro %}{% macro n() %}{% call(x) m(1) %}{{ n() }}{% endcall %}\
                {% endmacro %}{{ n() }}";
    let power = "{{ 10 ** 100000 }}";
    let width = "{{ '%100000000d' % 1 }}";
    for source in doublings.iter().map(String::as_str).chain([&*text, &captured, call, power, width]).chain([
        loops,
        recursion,
        recursive_loop,
        mutual,
        &parentheses,
        &lists,
        &nots,
        &minuses,
        &ifs,
        &conditions,
        &sums,
        big,
        self_include,
    ]) {
        let start = std::time::Instant::now();
        let result = apply(source, &hello(), &TemplateOptions::default());
        let shown: String = source.chars().take(60).collect();
        assert_eq!(result.expect_err(&shown).kind(), ErrorKind::Template, "{shown}");
        assert!(start.elapsed().as_secs() < 20, "{shown}: {:?}", start.elapsed());
    }
}

/// A list in a list in a list: what a template can build within its budget must not exhaust the stack as it is freed.
#[test]
fn deep_values_do_no_harm() {
    let build = "{% set ns = namespace(v=[]) %}{% for a in range(1000) %}{% for b in range(50) %}\
                 {% set ns.v = [ns.v] %}{% endfor %}{% endfor %}";
    for end in ["done", "{{ ns.v }}", "{{ ns.v | tojson }}", "{{ ns.v == ns.v }}"] {
        let result = apply(&format!("{build}{end}"), &hello(), &TemplateOptions::default());
        // JSON refuses, as Python's does.
        assert_eq!(result.is_err(), end.contains("tojson"), "{end}: {result:?}");
    }
    // As deep as the budget allows, and then some.
    for list in ["[ns.v]", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ns.v]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"] {
        let build = build.replace("range(50)", "range(5000)").replace("[ns.v]", list);
        let error = apply(&build, &hello(), &TemplateOptions::default()).unwrap_err();
        assert!(["too long", "nest too deep"].iter().any(|end| error.message().contains(end)), "{error}");
    }
}

/// Whatever takes a number, or a long text many times, asks before it takes the memory; nothing ends by a panic.
#[test]
fn numbers_of_a_template_do_not_exhaust_the_memory() {
    let long = "{% set t = 'ab\\n' * 1000000 %}";
    let nested = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    for source in [
        "{{ '%100000000000d' | format(1) }}".to_owned(),
        "{{ '%.100000000000f' | format(1.5) }}".into(),
        "{{ '%.99999f' | format(1.5) }}".into(),
        "{{ '%.99999d' | format(1) }}".into(),
        "{{ '%*d' % (10**12, 1) }}".into(),
        "{{ '%.*e' % (10**12, 1) }}".into(),
        "{{ '%.*g' | format(-5, 1) if false else '%.99999g' | format(0.00001) }}".into(),
        "{{ '{:100000000000}'.format(1) }}".into(),
        "{{ '{:.100000000000f}'.format(1.0) }}".into(),
        "{{ '{:.70000}'.format(1.0) }}".into(),
        "{{ '{:>{}}'.format('a', 10**12) }}".into(),
        "{{ 'x' * 10**12 }}".into(),
        "{{ 10**12 * 'x' }}".into(),
        "{{ [1] * 10**12 }}".into(),
        "{{ (1,) * 10**12 }}".into(),
        "{{ 'a'.ljust(10**12) }}".into(),
        "{{ 'a'.rjust(10**12, 'b') }}".into(),
        "{{ 'a'.center(10**12) }}".into(),
        "{{ 'a'.zfill(10**12) }}".into(),
        "{{ 'a\\tb'.expandtabs(10**12) }}".into(),
        "{{ 'a' | center(10**12) }}".into(),
        "{{ 'a\\nb' | indent(10**12) }}".into(),
        "{{ [1] | batch(10**12, 0) | list }}".into(),
        "{{ [1] | slice(10**12, 0) | list }}".into(),
        "{{ range(10**12) | list }}".into(),
        "{{ range(10**30) | list }}".into(),
        format!("{long}{{{{ t.replace('a', t) }}}}"),
        format!("{long}{{{{ t | replace('', t) }}}}"),
        format!("{long}{{{{ t.join(t) }}}}"),
        format!("{long}{{{{ t | join(t) }}}}"),
        format!("{long}{{{{ t | indent(t) }}}}"),
        format!("{long}{{{{ t | wordwrap(1, wrapstring=t) }}}}"),
        format!("{long}{{{{ t | list | length }}}}"),
        format!("{long}{{{{ {nested} | tojson(indent=t) }}}}"),
        format!("{long}{{{{ range(1000) | list | tojson(separators=(t, ':')) }}}}"),
        format!("{long}{{% for i in range(100000) %}}{{{{ t }}}}{{% endfor %}}"),
        "{% set ns = namespace(t='ab') %}{% for i in range(64) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}"
            .into(),
        "{% set ns = namespace(t=[1]) %}{% for i in range(64) %}{% set ns.t = ns.t + ns.t %}{% endfor %}".into(),
    ] {
        let error = apply(&source, &hello(), &TemplateOptions::default()).expect_err(&source);
        assert_eq!(error.kind(), ErrorKind::Template, "{source}: {error}");
        assert!(!error.message().contains("a library failed"), "{source}: {error}");
    }
    // What is large and reasonable is rendered, and what is clamped is not refused.
    for (source, length) in [
        ("{{ '%60000d' | format(1) }}", 60_000),
        ("{{ 'a'.ljust(100000) }}", 100_000),
        ("{{ 'x' * 1000000 }}", 1_000_000),
        ("{{ [1] | tojson(indent=10**9) }}", 1_005),
        ("{{ 'ab' | truncate(10**12) }}", 2),
        ("{{ 1.5 | round(10**12) }}", 3),
    ] {
        assert_eq!(apply(source, &hello(), &TemplateOptions::default()).unwrap().len(), length, "{source}");
    }
}

/// What `json.loads` makes of a text, and Jinja2 of that.
#[test]
fn data_is_read_as_python_reads_it() {
    let data = r#"[{"a": 123456789012345678901, "b": -1234567890123456789012345678901234567890123456789012345678901,
        "n": NaN, "i": -Infinity, "x": 1e999, "z": -0, "u": 18446744073709551615}]"#;
    let messages = parse_template_data(data, "messages").unwrap();
    let b = "1234567890123456789012345678901234567890123456789012345678901";
    for (source, expected) in [
        (
            "{{ m.a }} {{ m.b }} {{ m.n }} {{ m.i }} {{ m.x }} {{ m.z }} {{ m.u }}",
            format!("123456789012345678901 -{b} nan -inf inf 0 18446744073709551615"),
        ),
        (
            "{{ [m.a, m.b] | tojson }}{{ {m.b: m.n} | tojson }}",
            format!("[123456789012345678901, -{b}]{{\"-{b}\": NaN}}"),
        ),
        ("{{ [m.b, m.x] }}{{ m.b ~ '' }}{{ '%s' % m.b }}{{ m.b | string }}", format!("[-{b}, inf]-{b}-{b}-{b}")),
        (
            "{{ m.a + 1 }} {{ -m.a }} {{ m.b | abs }} {{ m.b | int }} {{ m.b | float }}",
            format!("123456789012345678902 -123456789012345678901 {b} -{b} -1.2345678901234568e+60"),
        ),
        (
            "{{ m.b is integer }} {{ m.b is number }} {{ m.b is float }} {{ m.b is callable }} {{ m.b is mapping }} \
          {{ m.b is string }} {{ m.b.x is defined }} {{ 1 if m.b else 0 }}",
            "True True False False False False False 1".into(),
        ),
        (
            "{{ m.b < 0 }} {{ m.b < m.a }} {{ m.b == m.b }} {{ m.b == m.a }} {{ m.b > m.i }} {{ m.b in [m.b] }} \
          {{ [m.a, m.b, 1.5] | sort }}",
            format!("True True True False True True [-{b}, 1.5, 123456789012345678901]"),
        ),
    ] {
        let source = format!("{{% set m = messages[0] %}}{source}");
        assert_eq!(apply(&source, &messages, &TemplateOptions::default()).unwrap(), expected, "{source}");
    }
    for source in ["{{ m.b + 1 }}", "{{ m.b * 1.5 }}", "{{ 1 - m.b }}"] {
        let source = format!("{{% set m = messages[0] %}}{source}");
        let error = apply(&source, &messages, &TemplateOptions::default()).unwrap_err();
        assert!(error.message().contains("the number is too large"), "{error}");
    }
}

/// As deep as data may be, where the caller has little stack.
#[test]
fn deep_data_needs_little_stack() {
    let nested = |open: &str, close: &str| open.repeat(497) + "\"<s>\"" + &close.repeat(497);
    for (data, printed) in [(nested("[", "]"), 1), (nested("{\"a\":", "}"), 1)] {
        let messages = format!("[{{\"role\": \"user\", \"content\": {data}}}]");
        let tools = format!("[{data}]");
        let work = move || {
            let tokenizer = tokenizer(&[("default", "{{ messages[0].content | tojson }}{{ tools[0] | tojson }}")]);
            let messages = parse_template_data(&messages, "messages").unwrap();
            let tools = Some(parse_template_data(&tools, "tools").unwrap());
            let options = TemplateOptions { tools, ..Default::default() };
            let text = tokenizer.apply_chat_template(&messages, &options).unwrap();
            tokenizer.encode_chat(&messages, &options).unwrap();
            text.matches("<s>").count() / 2
        };
        let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap();
        assert_eq!(thread.join().unwrap(), printed);
    }
}

/// As deep as Python goes, and no deeper than the stack allows for.
#[test]
fn macros_may_nest() {
    let render = |body: &str, call: &str| {
        let source = format!("{{% macro m(n) %}}{body}{{% endmacro %}}{{{{ {call} | length }}}}");
        apply(&source, &hello(), &TemplateOptions::default())
    };
    assert_eq!(render("{% if n %}{{ m(n - 1) }}{% endif %}x", "m(195)").unwrap(), "196");
    // Each level in as many brackets as an expression may have.
    let within = |brackets: usize| {
        let body = format!("{{{{ ({}m(n){} | length) if n }}}}", "[".repeat(brackets), "]".repeat(brackets));
        render(&body, "m(1)").unwrap_err()
    };
    assert!(within(20).message().contains("recursion limit"), "{}", within(20));
    let deepest = (1..400).rev().find(|&brackets| within(brackets).message().contains("the template nests too deep"));
    assert!(deepest.is_some_and(|brackets| brackets > 60), "{deepest:?}: {}", within(60));
}

/// A budget that fits a conversation fits a large schema too.
#[test]
fn large_inputs_are_rendered() {
    let property = |i: usize| (format!("p{i}"), json!({"type": "object", "properties": {"a": {"type": "string"}}}));
    let properties: Map<String, Value> = (0..6000).map(property).collect();
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"properties": properties}}}]);
    assert!(tools.to_string().len() > 300_000);
    let walk = "{%- macro walk(spec) -%}{%- for name, item in spec.properties|items -%}{{ name }}: {{ item.type }}\
                {%- if item.properties is defined %}({{ walk(item) }}){% endif %}, {% endfor -%}{%- endmacro -%}\
                {{ walk(tools[0].function.parameters) }}";
    let options = TemplateOptions { tools: Some(tools), ..TemplateOptions::default() };
    let text = apply(walk, &hello(), &options).unwrap();
    assert!(text.ends_with("p5999: object(a: string, ), "), "{}", &text[text.len() - 40..]);
}

/// Circles of namespaces are broken when a rendering ends; printing one comes to an end.
#[test]
fn namespaces_may_hold_themselves() {
    let source = "{% set ns = namespace(a=1) %}{% set ns.self = ns %}{% set ns.list = [ns] %}{{ ns.self.list[0].a }}";
    assert_eq!(apply(source, &hello(), &TemplateOptions::default()).unwrap(), "1");
    apply(&format!("{source}{{{{ ns|string|length }}}}"), &hello(), &TemplateOptions::default()).unwrap_err();
}

#[test]
fn chooses_templates_and_reports_what_they_say() {
    let named = tokenizer(&[("default", "D{{ tools }}"), ("tool_use", "T{{ tools | length }}")]);
    let with = |tools: Option<Value>, template: TemplateChoice| {
        let options = TemplateOptions { tools, template, ..TemplateOptions::default() };
        named.apply_chat_template(&hello(), &options)
    };
    assert_eq!(with(None, TemplateChoice::Auto).unwrap(), "DNone");
    assert_eq!(with(Some(json!([{}])), TemplateChoice::Auto).unwrap(), "T1");
    assert_eq!(with(Some(json!([])), TemplateChoice::Named("default".into())).unwrap(), "D[]");
    assert_eq!(with(None, TemplateChoice::Inline("{{ bos_token }}x".into())).unwrap(), "<s>x");
    let error = with(None, TemplateChoice::Named("rag".into())).unwrap_err();
    assert!(error.message().contains("`rag`") && error.message().contains("default, tool_use"), "{error}");

    let error = apply("{% if %}", &hello(), &TemplateOptions::default()).unwrap_err();
    assert!(error.kind() == ErrorKind::Template && error.to_string().contains("default:1"), "{error}");
    let error = apply("a\n{{ messages[0].x.y }}", &hello(), &TemplateOptions::default()).unwrap_err();
    assert!(error.to_string().contains("`messages[0].x` is undefined"), "{error}");
    for (source, place) in [
        ("a\n\n{{ 1 +\n }}", "default:3"),
        ("\n{% if x %}{{ 1|nofilter }}\n{% for x in y %}{{ 1|nofilter }}{% endfor %}{% endif %}", "default:3"),
        ("{{\n\n'a' +\n1 }}", "default:1"),
        ("{% macro m(a,\nb=1) %}\n{{ a + b }}{% endmacro %}\n{{ m('x') }}", "default:3"),
    ] {
        let error = apply(source, &hello(), &TemplateOptions::default()).unwrap_err();
        assert!(error.to_string().contains(place), "{source:?}: {error}");
    }
    let error = tokenizer(&[]).apply_chat_template(&hello(), &TemplateOptions::default()).unwrap_err();
    assert!(error.message().contains("no chat template"), "{error}");
    for messages in [json!({}), json!([]), json!(["x"]), json!(null)] {
        let error = apply("x", &messages, &TemplateOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}

#[test]
fn chats_are_not_begun_twice() {
    let tokenizer = tokenizer(&[("default", "{{ bos_token }}{{ eos_token }}")]);
    assert_eq!(tokenizer.encode_chat(&hello(), &TemplateOptions::default()).unwrap(), [0, 1]);
}

#[test]
fn the_date_is_local_and_now() {
    let year = apply("{{ strftime_now('%Y') }}", &hello(), &TemplateOptions::default()).unwrap();
    assert!(year.parse::<i32>().unwrap() >= 2025, "{year}");
}
