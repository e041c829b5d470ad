"""Chat templates: makes cases, and what Jinja2 renders of them as transformers sets it up.

    python tests/parity/templates.py OUTPUT [--seed 0] [--count 6000] [--fixture]

A case is a line of JSON with a template, and with the text that comes out or nothing where the reference fails. A line
with a context is for the lines after it. tests/templates.rs compares: MLXE_TEMPLATE_CASES=OUTPUT. With `--fixture` the
cases of tests/parity/template_cases.txt come first and nothing stems from the templates in the repository.
"""

import argparse
import copy
import datetime
import json
import random
import re
import warnings
from pathlib import Path

from transformers.utils import chat_template_utils

TESTS = Path(__file__).resolve().parent.parent
NOW = datetime.datetime(2024, 7, 9, 8, 5, 3)
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
warnings.simplefilter("ignore")


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = Frozen

CONTEXT = {
    "s": "Hello, World", "e": "", "u": "naïve 日本 ß", "ml": "a\n  b\r\n\nc\td ", "num": "42", "flt": "3.70",
    "words": "the quick brown-fox jumps over the lazy dog and keeps running", "html": "<b>it's &amp; \"x\"</b>",
    "n": 7, "neg": -3, "z": 0, "f": 2.5, "g": -0.1, "big": 1e20, "t": True, "fa": False, "no": None,
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "le": [], "mix": [1, "a", None, 2.5, True],
    "nest": [[1, 2], [3, [4, 5]], []], "d": {"b": 1, "a": "x", "items": [1, 2], "keys": "K", "n": None}, "de": {},
    "objs": [{"name": "x", "v": 3, "in": {"k": 1}}, {"name": "Y", "v": 1, "in": {"k": 2}},
             {"name": "a", "v": 2, "in": {}}],
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "  yo "},
                 {"role": "user", "content": ["p", {"type": "text", "text": "q"}]}],
}

# Alternatives are separated by blanks; a dot in the middle stands for a blank within one.
CONSTANTS = """0 1 2 -1 3 10 1.5 0.25 2.0 1e3 true false none 'a' 'b' '' 'l' ',·' '%s' 'x·y' [] {} [1,·2] ('a',·1)
    {'a':·1,·'b':·[2]} 'Hello' 100000000000 'items' 'name' 'v' () (1,)"""
TEXTS = """s e u ml words html num flt 'a,b,,c' '·x·' 'aXbX' 'Title·Case-word' '%d%%' s|upper ls|join
    messages[0].content"""
LISTS = """l ls le mix nest objs messages [3,·1,·2] range(4) s d d.items() d.values() d.keys() ('x',·'y') missing
    l|map('string') objs|map(attribute='name') ls|reverse l|select('odd') objs|selectattr('v',·'gt',·1)
    'a·b·c'.split() [[1,'x'],[0,'y']] no 7 l|sort d|items ls|batch(2) objs|groupby('v')"""
MAPPINGS = "d de d objs[0] messages[0] {'a':·1,·'items':·2} missing no n l s"
TEXT_TAILS = """.upper() .lower() .title() .capitalize() .swapcase() .strip() .strip('Hd·') .lstrip() .rstrip('d')
    .split() .split(',') .split(',·',·1) .rsplit(None,·1) .rsplit('·',·maxsplit=1) .split(sep='l') .splitlines()
    .splitlines(true) .splitlines(keepends=true) .startswith('H') .endswith(('d',·'x')) .startswith('l',·2) .find('o')
    .rfind('o') .index('o') .rindex('zz') .count('l') .find('o',·5) .find('o',·-3,·-1) .replace('l',·'L')
    .replace('l',·'L',·1) .replace('',·'-') .join(['a','b']) .join(ls) .join(l) .join('xyz') .center(20)
    .center(15,·'*') .ljust(15) .rjust(16,·'.') .zfill(15) .partition(',') .rpartition('o') .removeprefix('He')
    .removesuffix('ld') .isdigit() .isalpha() .isalnum() .isupper() .islower() .istitle() .isspace() .isdecimal()
    .isnumeric() .isidentifier() .isascii() .isprintable() .casefold() .expandtabs() .expandtabs(4) .format(1,·a=2)
    .format·map(d) .foo .foo() ['upper']() [0] [-1] [1:3] [::-1] [:-2] [-3:] [::2] [5:1:-1] [:0:-1] [100:] [99]
    ['x']"""
LIST_TAILS = """[0] [-1] [1:] [:1] [::-1] [::2] [-2:] [5] ['x'] .count(1) .index(1) .index('a') .copy() .append(1) .pop()
    .0 .first [none] [true] [1.0] [1:0:-1] .sort() ['count'](1) [:none] [missing:] [::0]"""
MAPPING_TAILS = """.a .b ['a'] .get('a') .get('q') .get('q',·5) .items() .keys() .values() .copy() .q ['q'] .q.r .pop('a')
    .update({}) ['get']('a') ['values']()|list .items()|list .items()|sort .keys()|list|last [none] [1]
    .fromkeys(ls,·1) .setdefault('q',·1) .__class__ ['__class__'] .items.x .items()|length .items()[0] .values()|sum"""
PREDICATES = """defined undefined none string number integer float boolean true false mapping sequence iterable callable odd
    even lower upper escaped divisibleby·2 divisibleby(3) divisibleby(num=2) equalto·1 eq(1) eq·'a' ne·1 gt·1 lt(2) ge·1
    le·1 greaterthan·2 lessthan·2 in·[1,·2] in·'abc' in('Hello') sameas·none sameas·true filter test nosuch"""
SINGLES = """range(3)|list range(5,·0,·-2) range(1,·4)|sum dict(a=1,·b=2) dict([['x',·1]],·y=2) namespace(a=1).a
    namespace({'a':·2}).a '%s·is·%s'·%·('a',·1) '%05.2f|%-6s|%+d|%x'·%·(f,·s,·n,·n) '%(a)s'·%·d '{}·{0}'.format(1)
    '{:>8}|{:.2f}|{!r}'.format(s,·f,·s) '{a[b]}·{x.role}'.format(a=d,·x=messages[0]) [1,·2]·+·l (1,·2)·+·('x',)
    'ab'·*·3 [0]·*·n 10·**·25 2·**·70·*·3 7·//·-2 -7·%·3 7.5·//·-2 1·/·3 n·/·7 1e16·*·10 0.1·+·0.2 'a'·'b' 0x1f
    '\\x41\\u00e9\\n' l|sort|first cycler('a',·'b').next() joiner(',·')() [1,2,3][1:]|first {1:·'a',·none:·'b'}[1]
    {'a':·1}['items']()|list true·+·true 'é'·<·'z' [1,2]·<·[1,3] (1,'a')·==·(1,'a') [1]·==·(1,) 1·==·1.0
    none·==·missing missing·==·undef not·missing missing·~·'x' 1·is·number '1'|int·+·1 raise_exception·is·callable
    '%d'·%·3.99 '%5.1e'·%·big '%g'·%·0.00001 '{:,}'.format(1234567) '{:08.3f}'.format(f) '{:^9}'.format(n)
    {'a':·1}['keys']()|first 'a'·in·'abc'·in·['abc'] 1·<·2·<·3 'x'|attr('upper') big|int n|string·~·f"""

# Arguments by name in their order; a case gives some of them, by position or by name.
FILTERS = {
    "upper": {}, "lower": {}, "title": {}, "capitalize": {}, "length": {}, "count": {}, "first": {}, "last": {},
    "list": {}, "string": {}, "abs": {}, "wordcount": {}, "escape": {}, "e": {}, "safe": {}, "forceescape": {},
    "striptags": {}, "urlencode": {}, "xmlattr": {}, "items": {}, "reverse": {}, "pprint": {},
    "trim": {"chars": "'Hd' '·' none"}, "int": {"default": "1 -1 none", "base": "10 16 2 8 0"},
    "float": {"default": "1.5 none 0"}, "round": {"precision": "0 1 2 -1 10", "method": "'common' 'ceil' 'floor' 'bad'"},
    "default": {"default_value": CONSTANTS, "boolean": "true false"}, "d": {"default_value": "'x'", "boolean": "true"},
    "join": {"d": "',' '·' 1 none", "attribute": "'name' 'in.k' 0"},
    "sort": {"reverse": "true false", "case_sensitive": "true false", "attribute": "'name' 'v' 'v,name' '0' 1"},
    "dictsort": {"case_sensitive": "true false", "by": "'key' 'value'", "reverse": "true false"},
    "unique": {"case_sensitive": "true false", "attribute": "'name' 'v'"},
    "min": {"case_sensitive": "true false", "attribute": "'name' 'v'"},
    "max": {"case_sensitive": "true false", "attribute": "'name' 'v'"},
    "sum": {"attribute": "'v' 'in.k' 0", "start": "1 0.5 [] ''"},
    "tojson": {"ensure_ascii": "true false", "indent": "2 none 0 '\\t'", "separators": "(',',·':') [';',·'=']",
               "sort_keys": "true false"},
    "indent": {"width": "2 '>·' 0", "first": "true false", "blank": "true false"},
    "truncate": {"length": "10 5 20", "killwords": "true false", "end": "'..' ''", "leeway": "0 3"},
    "wordwrap": {"width": "10 20 5", "break_long_words": "true false", "wrapstring": "'|' none",
                 "break_on_hyphens": "true false"},
    "center": {"width": "15 3"}, "filesizeformat": {"binary": "true false"},
}
APPLICATIONS = """batch(2)|list batch(linecount=2)|list batch(2,·'x')|list batch(3,·fill_with=0)|list slice(2)|list
    slice(slices=2)|list slice(3,·fill_with=0)|list groupby('v') groupby('name',·case_sensitive=true)
    groupby('q',·default='z') groupby('in.k',·0) groupby('v')|map(attribute='list')|list map('upper')|list
    map('length')|list map(attribute='name')|list map(attribute='in.k',·default=9)|list map(attribute='q')|list
    map('default',·1)|list map('join',·'-')|list map('int')|first map('nofilter')|list map()|list map('replace',·'a',·'b')|join
    select|list select('odd')|list reject('equalto',·1)|list select('string')|join select('gt',·1)|list
    reject('in',·[1,·'a'])|list select('divisibleby',·2)|list select('notest')|list selectattr('v')|list
    selectattr('v',·'gt',·1)|list rejectattr('name',·'equalto',·'x')|list selectattr('in.k',·'defined')|length
    selectattr('q')|list rejectattr('q',·'undefined')|list selectattr('role',·'eq',·'user')|map(attribute='content')|list
    replace('l',·'L') replace('l',·'L',·1) replace(old='l',·new='r') replace('',·'.') replace(1,·2) attr('a')
    attr(name='name') format(1,·'a') format(a=1) format('x') items|list reverse|list"""
BODIES = """{{·x·}} {{·loop.index·}}:{{·x·}}, {{·loop.last·}}{{·loop.first·}} {{·loop.length·}}{{·loop.revindex·}}
    {{·loop.previtem·}}<{{·x·}}>{{·loop.nextitem·}} {{·loop.cycle('a',·'b')·}} {{·loop.changed(x)·}}
    {%·if·loop.index0·>·1·%}{%·break·%}{%·endif·%}{{·x·}} {%·if·loop.first·%}{%·continue·%}{%·endif·%}{{·x·}};
    {%·set·n·=·n·+·1·%}{{·n·}} {%·set·q·%}{{·x·}}!{%·endset·%}{{·q·}} {{·x.name·}} {{·x['role']·}}{{·x.content·}}"""
CALLS = """{{·m()·}} {{·m(1)·}} {{·m(1,·2)·}} {{·m(1,·2,·3,·4)·}} {{·m(b=3)·}} {{·m(1,·z=3)·}} {{·m(*l)·}}
    {{·m(**{'a':·4})·}} {{·m(missing)·}} {{·m(a=1,·b=none)·}} {%·call·m(1)·%}in{%·endcall·%} {{·m(1)|upper·~·m(2)·}}
    {{·m·is·callable·}}{{·m.name·}} {{·l|map('string')|join(m('-'))·}}"""
MACROS = """[{{·a·}}|{{·b·}}|{{·c·}}] {{·a·}}{{·varargs·}}{{·kwargs.z·}} {{·caller()·if·caller·else·'nc'·}}
    {{·n·}}{%·set·n·=·5·%}{{·n·}} {%·if·a·%}{{·a·}}{%·endif·%} {{·varargs|length·}}{{·kwargs.z·}}"""
BLOCKS = """{#·c·#} {#-·c·-#} {%·raw·%}{{·x·}}{%·endraw·%} {%-·raw·-%}·{%·a·{%-·endraw·-%} text \n
    {%·generation·%}g{{·n·}}{%·endgeneration·%} {%·include·'x'·%} {%·print·n,·1·%} {%·do·l.append(1)·%} {%·break·%}
    {%·if·true·%}{%·include·'y'·ignore·missing·%}{%·endif·%} {{·raise_exception('no')·}} {{·1,·2·}} {{}} {{·x·y·}}
    {%·foo·%} {{·[1,·2·}} {{·'a·}} {%·if·n·%} {%·endif·%} {%·elif·n·%} {{·l.0·}}{{·l.0.1·}}"""


class Grammar:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def one(self, alternatives):
        return self.random.choice(alternatives.split()).replace("·", " ")

    def chance(self, probability):
        return self.random.random() < probability

    def name(self):
        return self.random.choice(list(CONTEXT)) if self.chance(0.93) else self.one("missing undef")

    def filter(self):
        if self.chance(0.4):
            return self.one(APPLICATIONS)
        name, parameters = self.random.choice(list(FILTERS.items()))
        given, by_name = [], False
        for parameter, values in parameters.items():
            if self.chance(0.45):
                break
            by_name = by_name or self.chance(0.3)
            given.append((parameter + "=" if by_name else "") + self.one(values))
            if by_name and self.chance(0.5):
                break
        return name + (f"({', '.join(given)})" if given or self.chance(0.2) else "")

    def expression(self, depth):
        inner = lambda: self.expression(depth - 1)
        if depth <= 0:
            return self.name() if self.chance(0.6) else self.one(CONSTANTS)
        kind = self.random.random()
        if kind < 0.10:
            return self.name()
        if kind < 0.16:
            return self.one(CONSTANTS)
        if kind < 0.27:
            return self.one(TEXTS) + self.one(TEXT_TAILS)
        if kind < 0.33:
            return self.one(LISTS) + self.one(LIST_TAILS)
        if kind < 0.39:
            return self.one(MAPPINGS) + self.one(MAPPING_TAILS)
        operand = self.random.choice([lambda: self.one(TEXTS), lambda: self.one(LISTS),
                                      lambda: f"({inner()})", self.name])
        if kind < 0.62:
            return f"{operand()}|{self.filter()}"
        if kind < 0.67:
            return operand() + self.random.choice([" is ", " is not "]) + self.one(PREDICATES)
        if kind < 0.80:
            return f"({inner()} {self.one('+ - * / // % ** ~ ~ ~ +')} {inner()})"
        if kind < 0.87:
            return f"{inner()} {self.one('== != < <= > >= in not·in')} {inner()}"
        if kind < 0.89:
            return f"{self.one('1·< n·> 1·== s·<=')} {inner()} {self.one('< == in')} {inner()}"
        if kind < 0.93:
            return f"({self.random.choice(['not ', '-', '+', ''])}({inner()}))"
        if kind < 0.96:
            return f"({inner()} {self.one('and or')} {inner()})"
        if kind < 0.98:
            return f"({inner()} if {inner()}{' else ' + inner() if self.chance(0.5) else ''})"
        return self.one(SINGLES)

    def tag(self, inner):
        return (self.random.choice(["{% ", "{%- ", "{% "]) + inner
                + self.random.choice([" %}", " %}", " -%}", " %}\n", "\n%}"]))

    def statement(self, depth):
        value = lambda: self.expression(self.random.randint(0, 2))
        body = lambda: self.block(depth - 1)
        tag = self.tag
        kind = self.random.randrange(16)
        if depth <= 0 or kind < 4:
            return self.random.choice(["{{ ", "{{- "]) + value() + self.random.choice([" }}", " -}}"])
        if kind == 4:
            middle = tag(f"elif {value()}") + body() if self.chance(0.3) else ""
            end = tag("else") + body() if self.chance(0.5) else ""
            return tag(f"if {value()}") + body() + middle + end + tag("endif")
        if kind == 5:
            condition = self.random.choice(["", "", " if x", " if x is string"])
            end = tag("else") + "none" if self.chance(0.3) else ""
            return (tag(f"for x in {self.one(LISTS)}{condition}") + self.one(BODIES) + body() + end
                    + tag("endfor") + "{{ n }}")
        if kind == 6:
            items = self.one("d.items() d|items d|dictsort [['x',·1],·('y',·2)] ['ab',·'cd'] objs l {'k1':·1} missing "
                             "objs|groupby('v') [[1,2,3]] d|items|sort(attribute='0')")
            return tag(f"for a, b in {items}") + "{{ a }}={{ b }};" + tag("endfor")
        if kind == 7:
            pair = self.one("1,·2 l 'xy' [1,·2] d (s,·n) missing")
            target = self.random.choice([f"x = {value()}", f"n = {value()}", f"a, b = {pair}", "x = 1, 2"])
            return tag(f"set {target}") + "{{ x }}{{ n }}{{ a }}{{ b }}"
        if kind == 8:
            more = self.random.choice(["{% set ns.b = ns.b + [i] %}", "{% set ns.c = ns.c ~ i %}",
                                       "{% set ns.q = i %}", "{% set ns.c %}{{ i }}{% endset %}", ""])
            return ("{% set ns = namespace(a=1" + self.random.choice(["", ", b=[]", ", c='x'"]) + ") %}"
                    + tag("for i in range(3)") + tag("set ns.a = ns.a + i") + more + tag("endfor")
                    + "{{ ns.a }}{{ ns.b }}{{ ns.c }}{{ ns.q }}")
        if kind == 9:
            parameters = self.random.choice(["a", "a, b=2", "a='x', b=a", "a, b=a ~ '!', c=b", "", "a, b=none",
                                             "a, b=c, c=3"])
            return f"{{% macro m({parameters}) %}}{self.one(MACROS)}{{% endmacro %}}{self.one(CALLS)}"
        if kind == 10:
            given = self.random.choice(["", "x", "x, 2", "u=x"])
            parameters = self.random.choice(["", "(u)", "(u, v=3)", "(u='d')"])
            return (f"{{% macro w(x) %}}<{{{{ caller({given}) }}}}>{{% endmacro %}}"
                    f"{{% call{parameters} w({value()}) %}}{{{{ u }}}}{{{{ v }}}}{{% endcall %}}")
        if kind == 11:
            chain = self.one("upper indent(2) replace('a',·'b') trim trim|upper center(10)|replace('·',·'.') length title "
                             "truncate(5,·true,·'..',·0) indent(width=3,·first=true)")
            return tag(f"filter {chain}") + body() + tag("endfilter")
        if kind == 12:
            chain = self.random.choice(["", "", "| upper", "| trim | length", "| replace('a', 'X')"])
            return tag(f"set x {chain}") + body() + tag("endset") + "{{ x }}"
        if kind == 13:
            values = self.random.choice(["n = 3", "n = 1, x = n", "", f"x = {value()}"])
            return tag(f"with {values}") + "{{ n }}{{ x }}" + body() + tag("endwith") + "{{ n }}{{ x }}"
        if kind == 14:
            step = self.random.choice(["{{ loop(x) if x is iterable else x }};", "{{ x is iterable and loop(x) or x }}",
                                       "{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{{ loop.depth }}{% endif %}",
                                       "{{ loop(x)|upper if x is sequence else x ~ loop.depth0 }}"])
            return f"{{% for x in {self.random.choice(['nest', '[1, [2, 3]]'])} recursive %}}{step}{{% endfor %}}"
        return self.one(BLOCKS)

    def block(self, depth):
        text = ["", "a", "  ", "\n", "b c\n"]
        parts = [self.random.choice(text) + self.statement(depth) for _ in range(self.random.randint(1, 2))]
        return "".join(parts) + self.random.choice(["", "\n", " "])

    def template(self):
        if self.chance(0.62):
            return "{{ " + self.expression(self.random.randint(1, 3)) + " }}"
        return self.block(self.random.randint(1, 3))


def conversation(seed):
    """Messages, tools and options as clients send them."""
    r = random.Random(seed)
    text = lambda: r.choice(["Hi", "  padded \n", "", "a\n\nb", "naïve 日本 👩‍👧", "<think>\nx\n</think>\n\ny", "{\"a\": 1}", "/no_think"])
    arguments = lambda: r.choice([{}, {"place": "Zürich", "days": 3}, {"a": [1, 2.5, None, True, {"b": "\"\n"}]}, "{\"x\": 1}"])
    schema = lambda d: r.choice([
        {"type": "string", "description": text()}, {"type": ["integer", "null"], "default": 1}, {}, {"type": "array"},
        {"type": "string", "enum": ["a", "b"]}, {"anyOf": [{"type": "string"}, {"type": "number"}]},
        *([{"type": "array", "items": schema(d - 1)}, {"type": "object", "properties": {"p": schema(d - 1), "items": schema(d - 1)}, "required": ["p"]}] if d else [])])
    tool = lambda i: {"type": "function", "function": {
        "name": f"tool_{i}", "description": text(),
        **r.choice([{}, {"parameters": {"type": "object"}}, {"parameters": {"type": "object", "properties": {f"p{k}": schema(2) for k in range(r.randrange(3))}, "required": r.choice([[], ["p0"]])}}])}}
    messages = [{"role": "system", "content": text()}] if r.random() < 0.5 else []
    for i in range(r.randint(1, 4)):
        content = text() if r.random() < 0.8 else [{"type": "text", "text": text()} for _ in range(r.randint(1, 2))]
        messages.append({"role": r.choice(["user"] * 9 + ["developer"]), "content": content})
        if r.random() < 0.4:
            messages.append({"role": "assistant", "content": text(), "tool_calls": [
                {"id": "abcdef12" + str(k), "type": "function", "function": {"name": "tool_0", "arguments": arguments()}}
                for k in range(r.randint(1, 2))]})
            messages.append({"role": "tool", "name": "tool_0", "tool_call_id": "abcdef120", "content": text()})
        if r.random() < 0.7 or i:
            messages.append({"role": "assistant", "content": text()})
    context = {"messages": messages, "add_generation_prompt": r.random() < 0.6}
    if r.random() < 0.5:
        context["tools"] = [tool(i) for i in range(r.randrange(3))]
    if r.random() < 0.2:
        context["documents"] = [{"title": text(), "text": text(), "doc_id": i} for i in range(r.randrange(3))]
    if r.random() < 0.3:
        context["enable_thinking"] = r.random() < 0.5
    return context


def render(template, context):
    """The text, or None where the reference fails."""
    given = {"messages": [{}], "tools": None, "documents": None, "add_generation_prompt": False, **SPECIAL_TOKENS}
    try:
        compiled = chat_template_utils._compile_jinja_template.__wrapped__(template)
        return compiled.render(copy.deepcopy({**given, **context}))
    except (Exception, RecursionError):
        return None


# What has no value to compare: addresses, the printing of generators, and what Python folds before it looks.
UNSTABLE = re.compile(r"(?i)\b.t 0x|gener.tor|iter.tor obj|built-in|g.e.n.e.r.a|\dj\)")
FOLDED = re.compile(r"7\[|\|[a-z]+\.|\| *pprint|[)s]\|wordcount|missing\.__class__")


def case(template, context):
    text = render(template, context)
    if text is not None and (UNSTABLE.search(text) or re.search(r"[0-9a-f]{10}>", text)):
        return None
    return {"template": template} if text is None else {"template": template, "text": text}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--fixture", action="store_true")
    options = parser.parse_args()
    lines = [{"context": CONTEXT}]
    if options.fixture:
        written = (TESTS / "parity" / "template_cases.txt").read_text(encoding="utf-8").splitlines()
        lines += [case(json.loads(f'"{line}"'), CONTEXT) for line in written if line and not line.startswith("#")]
    templates = (Grammar(seed).template() for seed in range(options.seed, options.seed + options.count))
    lines += [case(template, CONTEXT) for template in templates if not FOLDED.search(template)]
    if not options.fixture:
        for seed in range(options.seed, options.seed + options.count // 60):
            context = conversation(seed)
            lines.append({"context": context})
            for path in sorted((TESTS / "fixtures" / "templates").rglob("*.jinja")):
                lines.append(case(path.read_text(encoding="utf-8"), context))
    lines = [line for line in lines if line]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    options.output.write_text(text, encoding="utf-8")
    print(f"{len(lines)} lines")


main()
