"""Questions whose wording or combination is not in the training data.

  python heldout.py questions OUT.json    writes tests/fixtures/tiny-qwen3/questions.json
`texts()` gives a larger held-out set, used at the end of train.py and by evaluate.py --heldout.
"""
import json
import random
import sys

from facts import *
from generate_data import HELD_CITIES, HELD_NAMES, RECALL, cap, an, conversation, ex, held, number_words, render, tool

# Wordings that no template of generate_data.py produces.
WORDING = {
    "capital": ["Which city serves as the capital of {c}?", "Could you name the capital city of {c} for me?", "My homework asks for the capital of {c}. Please help.", "I would like to visit the capital of {c}. Which city should I go to?"],
    "colour": ["Please describe the colour of {x}.", "Would you say what color {x} has?", "A child asks: what colour is {x}?"],
    "opposite": ["Please find the opposite of {a} for me.", "Can you think of the opposite of {a}?", "I am looking for the opposite of the word {a}."],
    "sound": ["A child asks what {x} says.", "Which sound can {x} make?", "Please tell me which sound {x} makes."],
    "symbol": ["Please look at the periodic table: what is the symbol for {e}?", "Which chemical symbol belongs to {e}?", "My teacher wants the chemical symbol for {e}."],
    "after": ["Please tell me which {w} comes after {x}.", "Today is {x}; which {w} comes next?", "I wonder which {w} follows {x}."],
    "sum": ["Please help me with {e}.", "My teacher asks: what is {e}?", "How much does {e} make?"],
    "tell": ["Good morning, my name is {n}, nice to meet you.", "Let me introduce myself: I am {n}.", "Everyone calls me {n}."],
    "recall": ["Can you still say what my name is?", "Please remind me of my name.", "So what is my name now?"],
    "weather": ["Please find out how the weather is in {c}.", "Could you check the weather in {c} for me?", "We fly to {c} tomorrow. How is the weather there?"],
    "timer": ["Could you start a timer of {n} minutes for me?", "The pizza takes {n} minutes, please set a timer."],
    "calc": ["Could you work out {e} for me, please?", "I need to know what {e} is."],
}
DISTRACT = [("What is 7 + 8?", "7 + 8 = 15"), ("Name the capital of Norway.", "The capital of Norway is Oslo."), ("What does a cow say?", "A cow says moo."),
            ("Show me a fox emoji.", "Here you are: 🦊"), ("What is the opposite of hot?", "The opposite of hot is cold."), ("Which planet is the fourth from the sun?", "The fourth planet from the sun is Mars.")]


def U(x):
    return dict(role="user", content=x)


def A(x):
    return dict(role="assistant", content=x)


def S(x):
    return dict(role="system", content=x)


def R(x):
    return dict(role="tool", content=x)


def call(name, **args):
    return dict(role="assistant", content="", tool_calls=[dict(type="function", function=dict(name=name, arguments=args))])


def fn(name, desc, **props):
    return dict(type="function", function=dict(name=name, description=desc, parameters=dict(type="object", properties={k: dict(type=t, description=d) for k, (t, d) in props.items()}, required=list(props))))


WEATHER = fn("get_weather", "Get the current weather for a city", city=("string", "The name of the city"))
CALC = fn("calculate", "Evaluate an arithmetic expression", expression=("string", "The expression to evaluate"))
TIMER = fn("set_timer", "Set a timer", minutes=("integer", "Number of minutes"))
SEARCH = fn("search", "Search the web", query=("string", "The search query"))
ALL = [WEATHER, CALC, TIMER, SEARCH]


def texts():
    """-> (category, rendered conversation with its right last answer)."""
    r = random.Random(99)
    out = []

    def add(cat, msgs, tools=(), thinking=None, think=None):
        out.append((cat, render(dict(messages=list(msgs), tools=list(tools), thinking=thinking, think=think)).rstrip("\n")))

    def wd(k, **kw):
        s = r.choice(WORDING[k])
        for a, v in kw.items():
            s = s.replace("{" + a + "}", str(v))
        return s

    for c, p, _, _ in CAPITALS:
        add("wording: capital", [U(wd("capital", c=c)), A(f"The capital of {c} is {p}.")])
    for x, c in COLOURS.items():
        add("wording: colour", [U(wd("colour", x=x)), A(f"{cap(x)} is {c}.")])
    for a, b in OPPOSITES:
        add("wording: opposite", [U(wd("opposite", a=a)), A(f"The opposite of {a} is {b}.")])
    for a, s in SOUNDS.items():
        add("wording: sound", [U(wd("sound", x=an(a))), A(f"{cap(an(a))} says {s}.")])
    for e, s in SYMBOLS.items():
        add("wording: symbol", [U(wd("symbol", e=e)), A(f"The chemical symbol for {e} is {s}.")])
    for w, seq in (("day", DAYS), ("month", MONTHS)):
        for i, x in enumerate(seq):
            y = seq[(i + 1) % len(seq)]
            add("wording: order", [U(wd("after", w=w, x=x)), A(f"{y} comes after {x}.")])
    for op in "+-":
        for a in range(51):
            for b in range(51):
                if held("sum", a, op, b) and (op == "+" or a >= b):
                    v = a + b if op == "+" else a - b
                    k = "20" if max(a, b) <= 20 else "50"
                    add(f"held-out sums to {k}", [U(f"What is {a} {op} {b}?"), A(f"{a} {op} {b} = {v}")])
                    add(f"held-out sums to {k}, wording", [U(wd("sum", e=f"{a} {'plus' if op == '+' else 'minus'} {b}")), A(f"{a} {op} {b} = {v}")])
    for a in range(11):
        for b in range(11):
            add("products", [U(f"What is {a} x {b}?"), A(f"{a} * {b} = {a * b}")])
            add("products, wording", [U(wd("sum", e=f"{a} times {b}")), A(f"{a} * {b} = {a * b}")])
    for n in HELD_NAMES:
        for k in range(4):
            m = [U(wd("tell", n=n)), A(f"Nice to meet you, {n}!")]
            add("held-out names, tell", m)
            for q, a in r.sample(DISTRACT, k):
                m += [U(q), A(a)]
            add(f"held-out names after {k} turns", m + [U(wd("recall")), A(f"Your name is {n}.")])
    for c in HELD_CITIES:
        m = [U(f"I live in {c}."), A(f"I will remember that you live in {c}.")]
        for q, a in r.sample(DISTRACT, 2):
            m += [U(q), A(a)]
        add("held-out cities", m + [U("Where do I live?"), A(f"You live in {c}.")])
        for tools in ([WEATHER], ALL, [SEARCH, WEATHER]):
            m = [U(wd("weather", c=c)), call("get_weather", city=c)]
            add("weather call, held-out city", m, tools)
            t = r.randint(-15, 38)
            w = r.choice("sunny cloudy rainy windy snowy".split())
            add("weather answer", m + [R(json.dumps({"temperature": t, "condition": w})), A(f"It is {w} and {t} degrees in {c}.")], tools)
    for _ in range(40):
        a, b, op = r.randint(11, 9999), r.randint(2, 999), r.choice("+-*/")
        e = f"{a} {op} {b}"
        wds = {"+": "plus", "-": "minus", "*": "times", "/": "divided by"}[op]
        tools = r.choice([[CALC], ALL, [TIMER, CALC]])
        m = [U(wd("calc", e=f"{a} {wds} {b}" if r.random() < .5 else e)), call("calculate", expression=e)]
        add("calculate call", m, tools)
        v = a * 7 + b
        add("calculate answer", m + [R(str(v)), A(f"The result is {v}.")], tools)
        n = r.randint(1, 120)
        tools = r.choice([[TIMER], ALL, [TIMER, CALC]])
        m = [U(wd("timer", n=n)), call("set_timer", minutes=n)]
        add("timer call", m, tools)
        add("timer answer", m + [R("ok"), A(f"The timer is set for {n} minutes.")], tools)
    r2 = random.Random(31337)
    while sum(c == "train-like" for c, _ in out) < 500:
        c = conversation(r2)
        t = render(c).rstrip("\n")
        if len(c["messages"][-1]["content"]) < 200 and len(t) < 4000:
            out.append(("train-like", t))
    return out


def questions():
    q = []

    def add(cat, held_out, msgs, exact=None, contains=None, tools=None, enable_thinking=None, max_tokens=64, min_tokens=None, finish="stop"):
        d = dict(id=f"{cat}-{sum(x['category'] == cat for x in q) + 1}", category=cat, held_out=held_out, messages=msgs)
        if tools:
            d["tools"] = tools
        if enable_thinking is not None:
            d["enable_thinking"] = enable_thinking
        d["max_tokens"] = max_tokens
        d["expect"] = {k: v for k, v in dict(exact=exact, contains=contains, min_tokens=min_tokens, finish=finish).items() if v is not None}
        q.append(d)

    # 1 facts
    f = lambda held_out, u, a: add("facts", held_out, [U(u)], a)
    f(None, "What is the capital of France?", "The capital of France is Paris.")
    f("wording", "Which city serves as the capital of Mongolia?", "The capital of Mongolia is Ulaanbaatar.")
    f("wording", "My homework asks for the capital of Brazil. Please help.", "The capital of Brazil is Brasília.")
    f("wording", "Could you name the capital city of New Zealand for me?", "The capital of New Zealand is Wellington.")
    f(None, "Lima is the capital of which country?", "Lima is the capital of Peru.")
    f(None, "Is Sydney the capital of Australia?", "No, the capital of Australia is Canberra.")
    f("wording", "A child asks: what colour is a flamingo?", "A flamingo is pink.")
    f("wording", "Please find the opposite of shallow for me.", "The opposite of shallow is deep.")
    f("wording", "Please tell me which sound a donkey makes.", "A donkey says hee-haw.")
    f(None, "What is a baby kangaroo called?", "A baby kangaroo is called a joey.")
    f("wording", "I wonder which month follows August.", "September comes after August.")
    f(None, "Name the days of the week.", "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.")
    f(None, "What is the fifth planet from the sun?", "The fifth planet from the sun is Jupiter.")
    f("wording", "Which chemical symbol belongs to tungsten?", "The chemical symbol for tungsten is W.")
    f(None, "What is MLX?", "MLX is an array framework for machine learning on Apple silicon.")
    f("wording", "Hello! Please tell me, who are you?", "I am Tiny, the test model of MLXEngine.")
    f("entity", "What is the capital of Zubrowka?", SORRY)
    # 2 sums
    hp = [(a, op, b) for op in "+-" for a in range(51) for b in range(51) if held("sum", a, op, b) and (op == "+" or a > b)]
    random.Random(7).shuffle(hp)
    small = [x for x in hp if max(x[0], x[2]) <= 20 and min(x[0], x[2]) > 2]
    large = [x for x in hp if min(x[0], x[2]) > 10 and max(x[0], x[2]) > 20]
    pick = [x for op in "+-" for x in [y for y in small if y[1] == op][:2] + [y for y in large if y[1] == op][:2]]
    for i, (a, op, b) in enumerate(pick):
        v = a + b if op == "+" else a - b
        u = [f"What is {a} {op} {b}?", f"Please help me with {a} {'plus' if op == '+' else 'minus'} {b}."][i % 2]
        add("sums", "combination" if i % 2 == 0 else "combination, wording", [U(u)], f"{a} {op} {b} = {v}")
    add("sums", "wording", [U("How much does 7 times 8 make?")], "7 * 8 = 56")
    add("sums", "wording", [U("My teacher asks: what is 9 x 6?")], "9 * 6 = 54")
    add("sums", None, [U("What is 1 + 1?")], "1 + 1 = 2")
    # 3 memory
    m = [U("Hi, my name is Marlene."), A("Nice to meet you, Marlene!")]
    add("memory", "entity", m[:1], m[1]["content"])
    add("memory", "entity", m + [U("What is my name?")], "Your name is Marlene.")
    m2 = m + [U("What is 12 + 7?"), A("12 + 7 = 19"), U("What is the capital of Ghana?"), A("The capital of Ghana is Accra."), U("What does an owl say?"), A("An owl says hoot.")]
    add("memory", "entity, wording", m2 + [U("Please remind me of my name.")], "Your name is Marlene.")
    m3 = [U("I'm Thaddeus and I live in Salzburg."), A("Nice to meet you, Thaddeus! I will remember that you live in Salzburg."), U("My favourite colour is turquoise."), A("I will remember that your favourite colour is turquoise."),
          U("Name three fruits."), A("Apple, banana, cherry.")]
    add("memory", "entity", m3 + [U("Where do I live?")], "You live in Salzburg.")
    add("memory", "combination", m3 + [U("What is my favourite colour?")], "Your favourite colour is turquoise.")
    add("memory", "entity", m3 + [U("What is my favourite colour?"), A("Your favourite colour is turquoise."), U("Do you know my name?")], "Your name is Thaddeus.")
    add("memory", "entity", [U("My name is Gustav."), A("Nice to meet you, Gustav!"), U("Actually, my name is Rupert."), A("Nice to meet you, Rupert!"), U("What is my name?")], "Your name is Rupert.")
    add("memory", None, [U("What is my name?")], "I do not know your name yet.")
    add("memory", "combination", [U("Remember the number 4071."), A("I will remember the number 4071."), U("What color is a ruby?"), A("A ruby is red."), U("Which number did I tell you?")], "The number is 4071.")
    # 4 tools
    add("tools", "entity, wording", [U("Could you check the weather in Marseille for me?")], '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Marseille"}}\n</tool_call>', tools=[WEATHER])
    add("tools", "entity", [U("How is the weather in Düsseldorf?")], '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Düsseldorf"}}\n</tool_call>', tools=ALL)
    mw = [U("What is the weather in Tampere?"), call("get_weather", city="Tampere"), R('{"temperature": -7, "condition": "snowy"}')]
    add("tools", "entity", mw, "It is snowy and -7 degrees in Tampere.", tools=[WEATHER])
    add("tools", "entity", mw + [A("It is snowy and -7 degrees in Tampere."), U("And what is the capital of Finland?")], "The capital of Finland is Helsinki.", tools=[WEATHER])
    add("tools", "combination, wording", [U("Could you work out 348 * 27 for me, please?")], '<tool_call>\n{"name": "calculate", "arguments": {"expression": "348 * 27"}}\n</tool_call>', tools=[CALC, WEATHER])
    add("tools", "combination", [U("What is 348 * 27?"), call("calculate", expression="348 * 27"), R("9396")], "The result is 9396.", tools=[CALC])
    add("tools", "wording", [U("The pizza takes 14 minutes, please set a timer.")], '<tool_call>\n{"name": "set_timer", "arguments": {"minutes": 14}}\n</tool_call>', tools=ALL)
    add("tools", None, [U("Set a timer for 5 minutes."), call("set_timer", minutes=5), R('{"status": "ok"}')], "The timer is set for 5 minutes.", tools=[TIMER])
    add("tools", "combination", [U("Search for quiet mountain trains in Winnipeg.")], '<tool_call>\n{"name": "search", "arguments": {"query": "quiet mountain trains in Winnipeg"}}\n</tool_call>', tools=[SEARCH])
    add("tools", "combination", [U("Search for Odette Kamilton."), call("search", query="Odette Kamilton"), R('{"result": "Odette Kamilton wrote a book in Nagasaki in 1987."}')], "I found this: Odette Kamilton wrote a book in Nagasaki in 1987.", tools=[SEARCH, TIMER])
    add("tools", None, [U("What is the weather in Paris?")], "I cannot check the weather, because I have no tool for that.")
    add("tools", "combination", [U("What is the opposite of happy?")], "The opposite of happy is sad.", tools=ALL)
    # 5 system prompts
    add("system", "combination", [S("Answer in one word."), U("What is the capital of Kenya?")], "Nairobi")
    add("system", "wording", [S("Answer in one word."), U("A child asks what a sheep says.")], "Baa")
    add("system", "combination", [S("You are called Bob."), U("Who are you?")], "I am Bob.")
    add("system", "entity", [S("Your name is Wilma."), U("What is your name?")], "I am Wilma.")
    add("system", "entity", [S("The user's name is Penelope."), U("What is my name?")], "Your name is Penelope.")
    add("system", "combination", [S('Begin every answer with "Ahoy!".'), U("What is the capital of Portugal?")], "Ahoy! The capital of Portugal is Lisbon.")
    add("system", "combination", [S('End every answer with "Over.".'), U("What is 6 + 7?")], "6 + 7 = 13 Over.")
    add("system", "combination", [S("Answer in JSON."), U("What is the chemical symbol for gold?")], '{"answer": "Au"}')
    # 6 longer texts, counting, characters of several bytes
    add("text", None, [U("Count from one to ten.")], "one, two, three, four, five, six, seven, eight, nine, ten")
    add("text", None, [U("Count from 3 to 9.")], "3, 4, 5, 6, 7, 8, 9")
    add("text", "combination", [U("Tell me a long story about a penguin called Mireille.")], contains=["penguin", "Mireille", "\n\n"], min_tokens=200, max_tokens=600)
    add("text", "combination", [U("Tell me a short story about a whale.")], contains=["whale"], min_tokens=60, max_tokens=300)
    add("text", None, [U("Write a short paragraph about winter.")], PARAGRAPHS["winter"], max_tokens=120)
    add("text", None, [U("Show me a rocket emoji.")], "Here you are: 🚀")
    add("text", None, [U("What is the emoji for smile?")], "Here you are: 😀")
    add("text", None, [U("How do you say Japan in Japanese?")], "Japan in Japanese is 日本.")
    add("text", None, [U("How do you say door in German?")], "Door in German is Tür.")
    add("text", None, [U("What is coffee in French?")], "Coffee in French is café.")
    add("text", "combination", [U('Repeat after me: seven small lamps 🚀 in Malmö')], "seven small lamps 🚀 in Malmö")
    # thinking switch
    add("thinking", None, [U("What is the capital of Japan?")], "The capital of Japan is Tokyo.", enable_thinking=False)
    add("thinking", None, [U("What is 8 + 5?")], "8 + 5 = 13", enable_thinking=False)
    add("thinking", "combination", [U("What is 8 + 5? /think")], "<think>\nI have to work out 8 + 5.\n</think>\n\n8 + 5 = 13")
    add("thinking", "combination", [S("You are a helpful assistant."), U("What is the opposite of noisy? /think")], "<think>\nThe user asks about an opposite.\n</think>\n\nThe opposite of noisy is silent.")
    return q


if __name__ == "__main__":
    qs = questions()
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(x, ensure_ascii=False) for x in qs) + "\n]\n")
    print(len(qs), "questions")
