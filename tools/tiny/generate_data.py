"""Makes the synthetic conversations that the tiny model is trained on.

Everything is drawn from a seeded random generator; nothing is copied from anywhere.
  python generate_data.py sample 20            print some conversations
  python generate_data.py tokenizer OUT_DIR    train the tokenizer
`train.py` imports this module and draws its conversations in many processes.
"""
import json
import random
import re
import sys
import zlib
from functools import lru_cache

from facts import *

# ---------------------------------------------------------------- small helpers


@lru_cache(maxsize=None)
def parse(t):
    """'[a|b]' alternatives, nested, to a tree: list of str | list-of-alternatives."""
    pos = 0

    def seq(stop):
        nonlocal pos
        out, alts = [], []
        buf = ""
        while pos < len(t):
            c = t[pos]
            if c == "[":
                pos += 1
                out.append(buf)
                buf = ""
                out.append(seq(True))
            elif stop and c == "|":
                pos += 1
                out.append(buf)
                buf = ""
                alts.append(out)
                out = []
            elif stop and c == "]":
                pos += 1
                out.append(buf)
                alts.append(out)
                return alts
            else:
                buf += c
                pos += 1
        out.append(buf)
        return out

    return seq(False)


def ex(r, t, /, **kw):
    def walk(s):
        return "".join(x if isinstance(x, str) else walk(r.choice(x)) for x in s)

    s = walk(parse(t))
    for k, v in kw.items():
        s = s.replace("{" + k + "}", str(v))
    return s


def cap(s):
    return s[:1].upper() + s[1:]


def an(w):
    return ("an " if w[0] in "aeiou" else "a ") + w


def held(kind, *xs):
    """A fixed one in twenty-five of all combinations never appears in training."""
    return zlib.crc32((kind + ":" + ":".join(map(str, xs))).encode()) % 25 == 0


def number_words(n):
    if n < 20:
        return ONES[n]
    if n == 100:
        return "one hundred"
    return TENS[n // 10] + ("" if n % 10 == 0 else "-" + ONES[n % 10])


SYL = """ba be bi bo da de di do fa fe fi ga go ha he hi ja jo ka ke ki ko la le li lo lu ma me mi mo na ne ni no pa pe pi po ra re ri ro ru sa se si so
ta te ti to tu va ve vi wa we ya yo za ze zi an en in on ar er or al el il ol us is as os am em im um ad ed id od ak ek ik ok eth ild ard ert und
sh ch th br dr gr kr st tr pl cl qu sv ny ly ster ton berg ville field mond lin rick bert trud wyn dor mar vik""".split()


ALPHABETS = ["abcdefghijklmnopqrstuvwxyzàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿāăąćčďđēęěğģīįłńňőœŕřśşšţťūůűųźżž", "αβγδεζηθικλμνξοπρστυφχψω", "абвгдежзийклмнопрстуфхцчшщыьэюяії",
             "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらりるれろわんアイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン",
             "".join(map(chr, range(0x4E00, 0x9FA0, 7))), "".join(map(chr, range(0xAC00, 0xD7A0, 11))), "".join(map(chr, range(0x1F300, 0x1F650)))]


def made_up(r):
    if r.random() < 0.06:
        a = r.choice(ALPHABETS if r.random() < 0.5 else ALPHABETS[:1])
        return cap("".join(r.choice(a) for _ in range(r.randint(2, 7) if a[0] in "aαа" else r.randint(1, 3))))
    s = "".join(r.choice(SYL) for _ in range(r.choice([2, 2, 3, 3, 4])))
    return cap(s)


def person(r):
    while True:
        n = r.choice(NAMES) if r.random() < 0.55 else made_up(r)
        if n not in HELD_NAMES:
            return n


def city(r):
    while True:
        n = r.choice(CITIES) if r.random() < 0.6 else (made_up(r) if r.random() < 0.8 else made_up(r) + " " + made_up(r))
        if n not in HELD_CITIES:
            return n


WORDS_EN = sorted({w for x in list(COLOURS) + list(SOUNDS) + list(EMOJI) for w in x.split() if len(w) > 2}
                  | set(FOODS) | {w for p in PARAGRAPHS.values() for w in re.findall(r"[a-z]{3,}", p)})


def phrase(r, lo=1, hi=6):
    ws = []
    for _ in range(r.randint(lo, hi)):
        x = r.random()
        ws.append(r.choice(WORDS_EN) if x < 0.7 else made_up(r) if x < 0.8 else r.choice(CITIES) if x < 0.87
                  else str(r.randint(0, 999)) if x < 0.94 else r.choice(list(EMOJI.values())) if x < 0.97
                  else r.choice(r.choice(WORDS)))
    return " ".join(ws)


def T(u, a, s=None, l=None, **kw):
    return dict(u=u, a=a, s=s, l=l, **kw)


ASK = "[||||Please tell me: |Tell me, |Hey, |Hi! |Quick question: |Tell me please: |I have a question. |Hello, |So, |Ok, |Question: |Now tell me: |And ]"
END = "[||||| please| now]"

# Sentences that ask for a noun phrase, shared by several skills.
NP = """I need {np}[.| for a quiz.| for school.|, can you help?]|Do you happen to know {np}?|What would be {np}?|{NP}[, please|, please?|?|]|I always forget {np}.|Help me with {np}[.|, please.]
Can you find {np}?|Find {np}.|Let me know {np}.|I was asked for {np}.|Any idea what {np} is?|Could you tell me {np}[, please|]?|Would you tell me {np}?|Please write {np}.|Give me {np}[.|, please.]|I would love to know {np}.
Write down {np}.|You surely know {np}[.|, right?]|My friend asks for {np}.|We are looking for {np}.|I wonder what {np} is.|Can you say what {np} is?|Someone asked me for {np}.|Do you remember {np}?|I have to learn {np}. [What is it?|Tell me.|]
For my crossword I need {np}.|Look up {np}.|Show me {np}.|Could I have {np}?|What exactly is {np}?|So what is {np}?|What was {np} again?|In your opinion, what is {np}?|Let us see if you know {np}.|The quiz asks for {np}. [What do I write?|What is it?|]
Which one is {np}?|I am not sure about {np}. [Can you help?|Help me.|]|Could you give me {np}?|May I ask for {np}?|Is there a chance you know {np}?|Do you have {np} for me?|I would be happy to hear {np}.""".replace("\n", "|")
NP = "[" + NP + "]"


def np_(r, phrase_):
    return ex(r, NP, np=phrase_, NP=cap(phrase_))


# ---------------------------------------------------------------- facts


def f_capital(r):
    c, cap_, _, _ = r.choice(CAPITALS)
    x = r.random()
    if x < 0.65:
        q = ex(r, r.choice([
            "[What is|What's|Tell me|Do you know|Name|Please name|Can you tell me|I want to know|Give me] the capital [of|of|city of] {c}[?||.]",
            "[Which|What] city is the capital of {c}?", "[Which|What] is the capital of {c}?", "What is {c}'s capital[ city|]?",
            "The capital of {c} is[?|...|]", "{C}'s capital[?| is|, please]", "Capital of {c}[?|]",
            "What [city|town] is {c}'s capital?", "Which city is the capital [in|of the country] {c}?",
            "What do you call the capital of {c}?", "[Could|Can|Would] you [please |]tell me the capital of {c}?",
            "I [forgot|do not know|don't know|can't remember] the capital of {c}[.|, what is it?|. What is it?]",
            "[I am|I'm] looking for the capital of {c}.", "What is the name of the capital [of|city of] {c}?",
            "{C}: what is the capital?", "If I go to the capital of {c}, which city is that?", "Which capital does {c} have?",
            "I [want|plan|hope] to [travel|go|fly] to the capital of {c}. [Where is that?|What is it called?|Which city is it?|What city is that?]", "We are in {c}. Which city is the capital?",
            "My [brother|sister|friend|son] [wants to know|asks about] the capital of {c}.", "Which city [do people call|is known as|is] the capital of {c}?", "Where does the government of {c} sit?",
            "[I learn about|I read about|Let's talk about] {c}. [What is the capital?|Which city is its capital?|Name its capital.]", "Which town is the capital city of {c}?",
        ]), c=c, C=cap(c))
        if r.random() < 0.08:
            q = asks(r, ex(r, "[what the capital of {c} is|which city is the capital of {c}|where the capital of {c} is]", c=c))
        elif r.random() < 0.35:
            q = np_(r, ex(r, "[the capital of {c}|the capital of {c}|the capital city of {c}|{c}'s capital|the name of the capital of {c}]", c=c))
        return T(q, f"The capital of {c} is {cap_}.", cap_, "a capital")
    if x < 0.83:
        q = ex(r, "[{p} is the capital of which country?|{p} is the capital of what?|Which country has {p} as its capital?|Which country's capital is {p}?"
                  "|What country is {p} the capital of?|Of which country is {p} the capital?]", p=cap_)
        return T(q, f"{cap_} is the capital of {c}.", cap(c) if c.startswith("the ") else c, "a capital")
    if r.random() < 0.5:
        q = ex(r, "[Is {p} the capital of {c}?|Is the capital of {c} {p}?|{p} is the capital of {c}, right?|Is it true that {p} is the capital of {c}?]", p=cap_, c=c)
        return T(q, f"Yes, {cap_} is the capital of {c}.", "Yes", "a capital")
    w = r.choice(CAPITALS)[1]
    if w == cap_:
        return f_capital(r)
    q = ex(r, "[Is {p} the capital of {c}?|Is the capital of {c} {p}?|{p} is the capital of {c}, right?|Is it true that {p} is the capital of {c}?]", p=w, c=c)
    return T(q, f"No, the capital of {c} is {cap_}.", "No", "a capital")


def f_country(r):
    c, _, cont, lang = r.choice(CAPITALS)
    if r.random() < 0.5:
        q = ex(r, "[Where is {c}?|On which continent is {c}?|Which continent is {c} in?|What continent is {c} [in|on|part of]?|In which part of the world is {c}?]", c=c)
        return T(q, f"{cap(c)} is in {cont}.", cont, "a country")
    q = ex(r, "[Which|What] language do [people|they] speak in {c}?" if r.random() < 0.5 else "[What|Which] language is spoken in {c}?", c=c)
    return T(q, f"People in {c} speak {lang}.", lang, "a language")


def f_colour(r):
    x, c = r.choice(list(COLOURS.items()))
    q = ex(r, r.choice([
        "[What|Which] [colour|color] is {x}?", "[Tell me|Do you know|Name|Say] the [colour|color] of {x}[?||.]", "What is the [colour|color] of {x}?",
        "[What|Which] [colour|color] does {x} have?", "[Can you tell me what|Do you know what|Tell me what] [colour|color] {x} is[?||.]",
        "{X} is what [colour|color]?", "[Colour|Color] of {x}?", "What [colour|color] would you paint {x}?",
        "If you look at {x}, what [colour|color] do you see?", "What is {x}'s [colour|color]?",
        "I want to [paint|draw] {x}. Which [colour|color] do I [need|take]?", "My [son|friend|sister] asks what [colour|color] {x} is.", "Think of {x}. What [colour|color] is it?",
        "Which [colour|color] should {x} be?", "{X} - what [colour|color] is that?", "Say which [colour|color] {x} has.", "What [colour|color] do you think {x} is?",
    ]), x=x, X=cap(x))
    if r.random() < 0.3:
        q = np_(r, ex(r, "the [colour|color|colour|usual colour] of {x}", x=x))
    elif r.random() < 0.2:
        q = asks(r, ex(r, "[what|which] [colour|color] {x} [is|has]", x=x))
    return T(q, f"{cap(x)} is {c}.", cap(c), "a colour")


def f_opposite(r):
    a, b = r.choice(OPPOSITES)
    if r.random() < 0.5:
        a, b = b, a
    q = ex(r, r.choice([
        "[What is|What's|Tell me|Do you know|Name|Give me] the opposite of {q}{a}{q}[?||.]", "What is the opposite word of {q}{a}{q}?",
        "Opposite of {q}{a}{q}[?|]", "[Which|What] word is the opposite of {q}{a}{q}?", "What word means the opposite of {q}{a}{q}?",
        "{q}{A}{q} is the opposite of what?", "The opposite of {q}{a}{q} is[?|...|]", "Not {a}, but the opposite. [What is it?|Which word is it?]",
        "What is the contrary of {q}{a}{q}?", "Say the opposite of {q}{a}{q}.",
        "Which word says the opposite of {q}{a}{q}?", "What is not {a}, but the opposite?", "I say {a}, you say the opposite.", "If it is not {q}{a}{q}, it is the opposite. Which is?",
    ]), a=a, A=cap(a), q=r.choice(["", "", '"', "'"]))
    if r.random() < 0.35:
        q = np_(r, ex(r, "the opposite [of|of|of the word|to] {q}{a}{q}", a=a, q=r.choice(["", "", '"', "'"])))
    return T(q, f"The opposite of {a} is {b}.", cap(b), "an opposite")


def f_animal(r):
    k = r.random()
    if k < 0.45:
        a, s = r.choice(list(SOUNDS.items()))
        q = ex(r, r.choice([
            "What does {x} say?", "[What|Which] sound does {x} make?", "How does {x} sound?", "What [noise|sound] do {y} make?",
            "[Tell me|Do you know] what {x} says[?||.]", "What is the sound of {x}?", "[Make|Give me|Say] the sound of {x}.",
            "{Y}: what sound do they make?", "What do you hear when {x} speaks?", "How do {y} [talk|sound]?", "What do {y} say?",
            "My [son|friend|sister] asks what {x} says.", "Which [sound|noise] comes from {x}?", "When {x} makes a sound, what is it?", "Say what {x} says.", "Think of {x}. What does it say?", "Tell me which noise {y} make.",
            "I wonder what {x} says.", "What would {x} say?", "Which sound do you hear from {x}?",
        ]), x=an(a), y=PLURALS.get(a, a + "s"), Y=cap(PLURALS.get(a, a + "s")))
        if r.random() < 0.15:
            q = np_(r, ex(r, "the [sound|noise] [of {x}|that {x} makes|{x} makes]", x=an(a)))
        elif r.random() < 0.3:
            q = asks(r, ex(r, "[what|which sound|which noise] {x} [says|makes]", x=an(a)).replace("what " + an(a) + " makes", "what " + an(a) + " says").replace("sound " + an(a) + " says", "sound " + an(a) + " makes").replace("noise " + an(a) + " says", "noise " + an(a) + " makes"))
        return T(q, f"{cap(an(a))} says {s}.", cap(s), "an animal sound")
    if k < 0.65:
        a, b = r.choice(list(BABIES.items()))
        q = ex(r, "[What is|What's] a baby {a} called?" if r.random() < 0.5 else
               "[What do you call a baby {a}?|What is the name for a baby {a}?|What is the young of {x} called?|How do you call a baby {a}?|Tell me the word for a baby {a}.]", a=a, x=an(a))
        return T(q, f"A baby {a} is called {an(b)}.", cap(b), "a baby animal")
    if k < 0.85:
        a, n = r.choice(list(LEGS.items()))
        y = PLURALS.get(a, {"octopus": "octopuses", "butterfly": "butterflies"}.get(a, a + "s"))
        q = ex(r, "[How many legs does {x} have?|How many legs do {y} have?|How many legs are there on {x}?|Tell me how many legs {x} has.|What is the number of legs of {x}?]", x=an(a), y=y)
        return T(q, f"{cap(an(a))} has {n} legs.", cap(n), "legs")
    a, b = r.choice(list(PLURALS.items()))
    q = ex(r, "[What is the plural of {q}{a}{q}?|Plural of {q}{a}{q}?|One {a}, two [what?|...]|How do you say more than one {a}?|Tell me the plural of {q}{a}{q}.|What is the plural form of {q}{a}{q}?]", a=a, q=r.choice(["", "", '"']))
    return T(q, f"The plural of {a} is {b}.", cap(b), "a plural")


def f_time(r):
    k = r.random()
    what, seq = r.choice([("day", DAYS), ("month", MONTHS)])
    n = len(seq)
    i = r.randrange(n)
    x = seq[i]
    if k < 0.35:
        y = seq[(i + 1) % n]
        q = ex(r, "[[What|Which] {w} [comes|is] [after|right after] {x}?|What comes after {x}?|[What|Which] {w} follows {x}?|[Tell me|Name] the {w} after {x}.|What is the next {w} after {x}?|After {x} comes which {w}?|What is the {w} after {x}?|[It is|It's|Now it is|We have] {x}. [Which|What] {w} is next?|If it is {x} now, which {w} comes [next|then|after it]?|I want to know which {w} [follows|comes after] {x}.|Do you know which {w} comes after {x}?|Say which {w} follows {x}.|{x} is over. Which {w} comes now?|Which {w} comes [directly|just] after {x}?|Once {x} is over, what {w} is it?]", w=what, x=x)
        return T(q, f"{y} comes after {x}.", y, "the order of time")
    if k < 0.65:
        y = seq[(i - 1) % n]
        q = ex(r, "[[What|Which] {w} [comes|is] [before|right before] {x}?|What comes before {x}?|[Tell me|Name] the {w} before {x}.|What is the {w} before {x}?|Before {x} comes which {w}?|[It is|It's|We have] {x}. [Which|What] {w} was before?|If it is {x} now, which {w} was [before|the last one]?|I want to know which {w} comes before {x}.|Do you know which {w} comes before {x}?|Say which {w} is before {x}.]", w=what, x=x)
        return T(q, f"{y} comes before {x}.", y, "the order of time")
    if k < 0.75:
        i = r.randrange(12)
        q = ex(r, "[How many days does {m} have?|How many days are [there |]in {m}?|How long is {m} in days?|{m} has how many days?]", m=MONTHS[i])
        return T(q, f"{MONTHS[i]} has {MONTH_DAYS[i]} days.", str(MONTH_DAYS[i]), "a month")
    if k < 0.88:
        o = ORDINALS[i]
        u = "week" if what == "day" else "year"
        q = ex(r, "[[What|Which] is the {o} {w} of the {u}?|Name the {o} {w} of the {u}.|[What|Which] {w} is the {o} [one |]of the {u}?|Tell me the {o} {w} [of|in] the {u}.]", o=o, w=what, u=u)
        return T(q, f"The {o} {what} of the {u} is {x}.", x, "the order of time")
    j = r.randrange(5)
    q, a, s = [
        ("[How many days are [there |]in a week?|How many days does a week have?]", "A week has seven days.", "Seven"),
        ("[How many months are [there |]in a year?|How many months does a year have?]", "A year has twelve months.", "Twelve"),
        ("[Name|List|Tell me|Say|What are] the days of the week[.||, please.]", ", ".join(DAYS) + ".", None),
        ("[Name|List|Tell me|Say|What are] the [twelve |]months [of the year|][.||, please.]", ", ".join(MONTHS) + ".", None),
        ("[Name|List|Tell me|Say|What are] the [four |]seasons[.||, please.| of the year.]", ", ".join(SEASONS) + ".", None),
    ][j]
    return T(ex(r, q), cap(a), s, "time")


def f_science(r):
    k = r.random()
    if k < 0.5:
        e, s = r.choice(list(SYMBOLS.items()))
        if r.random() < 0.7:
            q = ex(r, r.choice([
                "[What is|What's|Tell me|Do you know|Name|Give me] the [chemical |]symbol [for|of] {e}[?||.]", "[Which|What] [chemical |]symbol does {e} have?",
                "[Chemical symbol|Symbol] [of|for] {e}[?|]", "How do you write {e} in chemistry?", "What letters stand for {e} in chemistry?",
                "I [must|have to] write {e} as a chemical symbol.", "In chemistry, which symbol [stands for|is used for|means] {e}?", "Which letters [are used for|mean|stand for] {e}?", "[Which|What] [chemical |]symbol [goes with|fits|matches|corresponds to|is right for|is the one for|is given to|was given to|denotes|represents|do we write for|would you write for|should I write for] {e}?",
            "To which symbol does {e} correspond?", "[Which|What] letters [go with|fit|represent] {e}?", "How would you write {e} as a symbol?", "My friend needs the symbol for {e}.",
            "Which symbol do chemists use for {e}?", "In the periodic table, what is {e}?", "The chemical symbol of {e} is[?|...]", "Which symbol is {e}?",
            "{E}: what is the chemical symbol?", "How is {e} written in the periodic table?", "What is {e}'s [chemical |]symbol?",
            ]), e=e, E=cap(e))
            if r.random() < 0.3:
                q = np_(r, ex(r, "the [chemical |]symbol [for|of] {e}", e=e))
            elif r.random() < 0.1:
                q = asks(r, ex(r, "[what the symbol for {e} is|which symbol {e} has|how to write {e} in chemistry]", e=e))
            return T(q, f"The chemical symbol for {e} is {s}.", s, "a chemical symbol")
        q = ex(r, "[Which|What] element [has the symbol|is written as|is|has the chemical symbol] {s}?" if r.random() < 0.6 else "[What does {s} stand for in chemistry?|{s} is the symbol for which element?]", s=s)
        return T(q, f"{s} is the chemical symbol for {e}.", cap(e), "a chemical symbol")
    if k < 0.75:
        i = r.randrange(8)
        o = ORDINALS[i]
        q = ex(r, "[[What|Which] is the {o} planet[| from the sun]?|[What|Which] planet is the {o} from the sun?|Name the {o} planet[| from the sun].|Tell me the {o} planet[| from the sun].|[What|Which] planet is number {n}?]", o=o, n=i + 1)
        return T(q, f"The {o} planet from the sun is {PLANETS[i]}.", PLANETS[i], "a planet")
    if k < 0.85:
        a, p = r.choice(list(PLANET_FACTS.items()))
        q = ex(r, "[[What|Which] is the {a} planet?|[What|Which] planet is the {a}[ one|]?|Name the {a} planet.|Tell me the {a} planet.]", a=a)
        return T(q, f"The {a} planet is {p}.", p, "a planet")
    if k < 0.92:
        s, n = r.choice(list(SIDES.items()))
        q = ex(r, "[How many [sides|corners] does {x} have?|How many sides are there in {x}?|{X} has how many sides?|Tell me how many sides {x} has.]", x=an(s), X=cap(an(s)))
        q = q.replace("corners", "sides")
        return T(q, f"{cap(an(s))} has {n} sides.", cap(n), "a shape")
    q, a, s = r.choice([
        ("[Name|List|Tell me|Say|What are] the [eight |]planets[.||, please.]", ", ".join(PLANETS) + ".", None),
        ("[How many planets are there?|How many planets does our solar system have?|What is the number of planets?]", "There are eight planets.", "Eight"),
        ("[What is|What's] H2O?", "H2O is water.", "Water"),
        ("[[What|Which] planet do we live on?|On which planet do we live?|What is our planet called?]", "We live on Earth.", "Earth"),
    ])
    return T(ex(r, q), a, s, "science")


def f_emoji(r):
    w, e = r.choice(list(EMOJI.items()))
    q = ex(r, r.choice([
        "[Show|Give|Send] me {x} emoji[.||, please.]", "[What|Which] emoji [is|means|shows] {y}?", "[What is|What's|Do you know] the emoji for {q}{w}{q}?",
        "[Type|Write|Draw] {x} emoji.", "[Can I have|I want|I need] {x} emoji[.||, please.]", "Emoji for {w}[?|]", "How do I say {q}{w}{q} in emoji?",
    ]), x=an(w), w=w, y=an(w) if w not in ("thumbs up", "music", "fire", "coffee") else w, q=r.choice(["", '"']))
    return T(q, f"Here you are: {e}", e, "an emoji")


def f_word(r):
    t = r.choice(WORDS)
    i = r.randrange(4)
    q = ex(r, r.choice([
        "How do you say {q}{w}{q} in {l}?", "[What is|What's] {q}{w}{q} in {l}?", "[What is|What's|Tell me|Do you know] the {l} word for {q}{w}{q}[?||.]", "Translate {q}{w}{q} [to|into] {l}.",
        "{q}{w}{q} in {l}[?|, please]", "What does {q}{w}{q} mean in {l}?", "[Which|What] is the {l} for {q}{w}{q}?", "[Say|Write] {q}{w}{q} in {l}.", "I want to say {q}{w}{q} in {l}[.|. How?]",
    ]), w=t[0], l=LANGS[i], q=r.choice(["", "", '"', "'"]))
    return T(q, f"{cap(t[0])} in {LANGS[i]} is {t[i + 1]}.", t[i + 1], "a translation")


def f_identity(r, who="Tiny", named=False):
    k = r.random()
    if k < 0.45:
        q = ex(r, r.choice([
            "[Who are you?|Who am I talking to?|What are you called?|[What is|What's] your name?|Tell me your name[.|, please.]|Do you have a name?|And who are you?|What should I call you?|"
            "Introduce yourself[.|, please.]|Can you introduce yourself?|Who is this?|What is the name of this assistant?|How are you called?|May I ask your name?|What are you?|Tell me who you are.]"]))
        return T(q, f"I am {who}." if named else MLX["who"], who, "my name")
    key, q = r.choice([
        ("what_mlx", "[What is|What's|Explain|Tell me about|What do you know about|Do you know] MLX[?||.]"), ("what_mlx", "What [does MLX mean|is MLX used for|can I do with MLX]?"),
        ("who_mlx", "[Who|Which company] [made|created|built|wrote|develops] MLX?"), ("who_mlx", "Where does MLX come from?"),
        ("what_engine", "[What is|What's|Explain|Tell me about|What do you know about|Do you know] MLXEngine[?||.]"), ("what_engine", "What does MLXEngine do?"),
        ("maker", "[Who|What company] [made|created|built|trained] you?"), ("maker", "How were you [made|trained|built]?"), ("maker", "Where do you come from?"),
        ("size", "How [big|large|small] are you?"), ("size", "How many parameters do you have?"), ("size", "What is your size?"),
        ("can", "What can you do[| for me]?"), ("can", "[How can you help me?|What are you good at?|What are your abilities?|What do you know?|Help]"),
        ("human", "Are you [human|a human|a person|a real person|alive]?"), ("lang", "[Which|What] languages do you speak?"),
        ("lang", "Do you speak English?"), ("bits", "How many bits do your weights have?"), ("bits", "[Are you|Is this model] quantized?")])
    s = {"maker": None, "human": "No", "lang": "English"}.get(key)
    return T(ex(r, q), MLX[key], s, "me" if "mlx" not in key else "MLX")


def f_smalltalk(r):
    q, a = r.choice([
        ("[Hi|Hello|Hey|Good morning|Good evening|Hi there|Hello there|Good day|Hey there][!|.||]", "Hello! How can I help you?"),
        ("[How are you?|How are you doing?|How is it going?|Are you well?|How do you feel?]", "I am fine, thank you!"),
        ("[Thanks|Thank you|Thank you very much|Thanks a lot|Great, thanks|Nice, thank you][!|.|]", "You are welcome!"),
        ("[Bye|Goodbye|See you|See you later|Good bye|I have to go now|Bye bye][!|.|]", "Goodbye! 👋"),
        ("[Good night|Sleep well][!|.|]", "Good night! 🌙"),
        ("[Tell me a joke|Do you know a joke?|Make me laugh|Say something funny][.|]", "Why did the bee get married? Because it found its honey! 🐝"),
        ("[I am sad|I feel sad|I am not happy today|I feel bad][.|]", "I am sorry to hear that. I hope you feel better soon."),
        ("[I am happy|I feel great|What a nice day|I am so happy today][!|.|]", "That is wonderful! 😀"),
        ("[Ok|Okay|I see|Good|Great|Nice|Cool|Fine][!|.|]", "Is there anything else I can do for you?"),
        ("[Yes|No|Maybe][.|]", "All right."),
    ])
    return T(ex(r, q), a, None, "small talk")


OOD = """[Who wrote|Who painted|Who composed|Who invented|Who discovered] {p}?
How do I [fix|repair|clean|build|paint|sell|buy] [my|a|the] {n}?
[What is the meaning of|What is the history of|What is the price of|Why do people like] {n}?
[When was {P} born?|When did {P} die?|Who is {P}?|Who was {P}?|What do you know about {P}?|Tell me about {P}.]
[What is|What's] the capital of {Z}?
[Explain|Describe] [quantum physics|the stock market|the theory of relativity|world politics|the tax law|democracy|photosynthesis|the internet|inflation][.|]
[Who is the president of|How many people live in|What is the currency of|How big is] {c}?
[Who won the [match|election|race|war|world cup]?|What is the news today?|What time is it?|What day is it today?|Where am I?|How old am I?|What year is it?]
[Write|Show me] [a program in Python|some code|a sorting function|a shell script|a poem in French|a letter to my boss|an essay about history][.|]
What is the chemical symbol for {z}?
[Why is the sky blue?|Why do cats purr?|Why does it rain?|Why do birds sing?|How do planes fly?|How does a car work?|How do magnets work?]
[What should I [cook|wear|do|read|watch|eat] [today|tonight|tomorrow]?|Which [film|book|phone|car] should I [buy|choose]?]
[What is|Calculate] the [square root|logarithm|sine|cube] of {k}?""".split("\n")


def f_unknown(r):
    q = ex(r, r.choice(OOD), p=r.choice(["the book about the ", "the song of the ", "the "]) + r.choice(WORDS_EN), P=person(r) + " " + made_up(r),
           n=r.choice(WORDS_EN), Z=made_up(r) + r.choice(["ia", "land", "stan", ""]), z=made_up(r).lower() + r.choice(["ium", "on", ""]), c=r.choice(CAPITALS)[0], k=r.randint(2, 999))
    return T(q, SORRY, None, "something that I do not know")


def f_list(r):
    k = r.random()
    if k < 0.5:
        x, v = r.choice(list(LISTS.items()))
        n = r.randint(2, 5)
        w = r.choice([ONES[n], str(n)])
        q = ex(r, "[Name|List|Tell me|Give me|Write down|Say|Can you name|Show me] {n} {x}[.||, please.]", n=w, x=x.replace("colours", r.choice(["colours", "colors"])))
        return T(q, cap(", ".join(v.split(", ")[:n])) + ".", None, "a list")
    x = r.choice([w for w in SPELL])
    q = ex(r, '[How do you spell {q}{x}{q}?|Spell {q}{x}{q}[.|, please.]|Spell the word {q}{x}{q}.|Can you spell {q}{x}{q}?|What are the letters [of|in] {q}{x}{q}?]', x=x, q=r.choice(["", '"', "'"]))
    return T(q, "-".join(x.upper()), None, "spelling")


SPELL = "cat dog sun moon tree star fish bird apple house water bread green blue red yellow happy night light table chair window river mouse horse tiger lion banana lemon pizza music robot train flower garden winter summer spring school Tiny MLX".split()

# ---------------------------------------------------------------- sums

BIG = 99


def num(r):
    x = r.random()
    return r.randint(0, 20) if x < 0.55 else r.randint(0, 50) if x < 0.85 else r.randint(0, BIG)


def sum_question(r, a, op, b):
    w = {"+": ["plus", "plus", "and"], "-": ["minus", "minus", "take away"], "*": ["times", "times", "multiplied by"], "/": ["divided by"]}[op]
    sym = {"*": ["*", "x", "×", "·"], "/": ["/", "÷"]}.get(op, [op])
    wd = r.choice(w)
    if op == "/":
        wd = "divided by"
    s = r.choice(sym)
    e = r.choice([f"{a} {wd} {b}", f"{a} {s} {b}", f"{a} {s} {b}", f"{a}{s}{b}" if s != "x" else f"{a} x {b}"])
    q = ex(r, r.choice(["[What is|What's|How much is|Calculate|Compute|Tell me|Work out|What does|Solve|Solve this:|Do you know|Please calculate|Can you tell me|Can you calculate|I have to solve|Let me know|Figure out|Find|Give me|Help me solve|My friend asks:|I must know|Could you calculate|Would you solve|Let's do|Evaluate|Now do|Try|I wonder what is|What would be|Use your head: what is] {e}[?||.]", "{e}[?| =| = ?| is|]",
                        "{e} [makes|equals|is|gives] [what|how much]?", "[What is the result of|What do you get for|How many is|What do I get for|Can you do|I need the result of|The answer to|What comes out of|Do you know the answer to|How many are] {e}[?|]", "{e} - what is [that|it]?", "Can you [solve|calculate|work out|do] {e}[, please|]?", "If I calculate {e}, what do I get?", "[I want to know|I'd like to know] [what is {e}|the result of {e}][.|]"]), e=e)
    return q


def f_sum(r, op=None):
    op = op or r.choices("+-*", [4, 4, 3])[0]
    while True:
        if op == "*":
            a, b = r.randint(0, 10), r.randint(0, 10)
        else:
            a, b = num(r), num(r)
            if op == "-" and a < b and r.random() < 0.7:
                a, b = b, a
        if op == "*" or not held("sum", a, op, b):
            break
    k = r.random()
    v = {"+": a + b, "-": a - b, "*": a * b}[op]
    if k < 0.72:
        q = sum_question(r, a, op, b)
    elif op == "+":
        q = ex(r, "[Add {a} and {b}.|What is the sum of {a} and {b}?|The sum of {a} and {b}?|Add {b} to {a}.|What do you get if you add {a} and {b}?|I have {a} {n} and get {b} more. How many {n} do I have [now|]?|If I add {b} to {a}, what [is it|do I get]?]",
               a=a, b=b, n=r.choice(["apples", "books", "stars", "coins", "eggs", "balls"]))
    elif op == "-":
        q = ex(r, "[Subtract {b} from {a}.|What is the difference of {a} and {b}?|Take {b} away from {a}.|What do you get if you subtract {b} from {a}?|What is {a} less {b}?|If I take {b} from {a}, what is left?]", a=a, b=b)
    else:
        q = ex(r, "[Multiply {a} by {b}.|Multiply {a} and {b}.|What is the product of {a} and {b}?|What do you get if you multiply {a} by {b}?|How much is {a} times {b}?|There are {a} boxes with {b} eggs each. How many eggs are there?]", a=a, b=b)
    return T(q, f"{a} {op} {b} = {v}", str(v), "a sum", think=f"I have to work out {a} {op} {b}.")


def f_number(r):
    k = r.random()
    if k < 0.25:
        n = r.randint(0, 99)
        q = ex(r, "[What [number |]comes after {n}?|[Which|What] number is after {n}?|What is the next number after {n}?|What is one more than {n}?]", n=n)
        return T(q, f"{n + 1} comes after {n}.", str(n + 1), "a number")
    if k < 0.45:
        n = r.randint(1, 100)
        q = ex(r, "[What [number |]comes before {n}?|[Which|What] number is before {n}?|What is one less than {n}?]", n=n)
        return T(q, f"{n - 1} comes before {n}.", str(n - 1), "a number")
    if k < 0.7:
        a, b = r.randint(0, 99), r.randint(0, 99)
        if a == b:
            b = a + 1
        q = ex(r, "[Which is [bigger|larger|greater], {a} or {b}?|Which number is [bigger|larger|greater]: {a} or {b}?|What is more, {a} or {b}?|Is {a} or {b} the [bigger|larger|greater] number?]", a=a, b=b)
        return T(q, f"{max(a, b)} is bigger than {min(a, b)}.", str(max(a, b)), "two numbers")
    if k < 0.85:
        n = r.randint(0, 99)
        q = ex(r, "[Is {n} even or odd?|Is {n} odd or even?|Is the number {n} even or odd?|Is {n} [an even|an odd] number?]", n=n)
        v = "even" if n % 2 == 0 else "odd"
        return T(q, f"{n} is {v}.", cap(v), "a number")
    n = r.randint(0, 100)
    q = ex(r, "[How do you write {n} in words?|Write {n} in words.|What is {n} in words?|Write the number {n} as a word.]", n=n)
    return T(q, cap(number_words(n)) + ".", cap(number_words(n)), "a number")


def f_count(r):
    k = r.random()
    words = r.random() < 0.6
    f = number_words if words else str
    if k < 0.65:
        a, b = (1, r.choice([3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 12, 15, 20, 20, 25, 30])) if r.random() < 0.6 else (lambda x: (x, x + r.randint(2, 14)))(r.randint(0, 30))
        if held("count", a, b):
            return f_count(r)
        q = ex(r, r.choice(["[Count|Please count|Can you count|Count for me|I want you to count] from {a} to {b}[.||, please.]"] + (["[Count|Please count|Can you count|Count up] to {b}[.||, please.]"] if a == 1 else [])), a=f(a), b=f(b))
        return T(q, ", ".join(f(i) for i in range(a, b + 1)), None, "counting", raw=True)
    a = r.randint(3, 20)
    q = ex(r, "[Count|Please count|Can you count] [backwards|down|back] from {a}[.||, please.| to {o}.]", a=f(a), o=f(1))
    return T(q, ", ".join(f(i) for i in range(a, 0, -1)), None, "counting", raw=True)


# ---------------------------------------------------------------- copying


def f_repeat(r):
    x = phrase(r, 1, 8) if r.random() < 0.75 else " ".join(made_up(r).lower() if r.random() < 0.5 else r.choice(WORDS_EN) + r.choice(["", "s", "er", "ing", "ed"]) for _ in range(r.randint(1, 6)))
    q = ex(r, '[Repeat after me: |Repeat: |Say: |Echo: |Repeat this: |Please repeat: |Write exactly this: |Copy this: |Say this: |Say after me: ]{x}' if r.random() < 0.6 else '[Repeat|Say|Echo|Write|Please repeat|Copy] "{x}"[.|]', x=x)
    return T(q, x, None, "repeating", raw=True)


# ---------------------------------------------------------------- stories

HEROES = "fox cat dog bear mouse rabbit frog owl duck hedgehog squirrel lion pig horse bee whale turtle dragon robot wizard king queen boy girl penguin elephant tiger goat crow train".split()
PLACES = "forest,village,meadow,valley,garden,town by the sea,green hill,quiet lake,snowy mountain,old castle,sunny island,river bank".split(",")
THINGS = "golden key,red ball,old map,silver bell,small lamp,blue stone,wooden boat,warm hat,shiny star,little book,green bottle,paper kite".split(",")
STAGES = [
    ["Once upon a time there was {x} called {n} who lived in {p}.", "Long ago, in {p}, there lived {x} called {n}.", "There once was {x} named {n}, and its home was {p}."],
    ["{n} was small, but very curious.", "{n} was kind and had many friends.", "{n} loved the sun, the wind and the smell of the grass.", "{n} was often hungry and always cheerful."],
    ["One morning {n} woke up early and looked out of the window.", "One day the sky was blue and the birds were singing.", "One evening, after a long rain, a rainbow stood over {p}."],
    ["So {n} put on a hat and went for a walk.", "So {n} packed some bread and cheese and set off.", "\"Today I will find something new,\" said {n}, and off it went."],
    ["Behind a big tree {n} found {t}.", "Near the water there lay {t}, and {n} picked it up.", "On the road {n} saw {t} shining in the grass."],
    ["\"Who lost this?\" {n} asked, but nobody answered.", "\"How pretty!\" said {n}. \"It must belong to someone.\"", "{n} looked left and right, but there was nobody to be seen."],
    ["Then {f} came along the path, and it looked very sad.", "Just then {n} heard someone crying. It was {f}.", "After a while {n} met {f}, who was sitting on a stone."],
    ["\"What is the matter?\" asked {n}.", "\"Why are you so sad?\" {n} asked softly.", "\"Can I help you?\" said {n}."],
    ["\"I lost {t}, and I cannot go home without it,\" said the {g}.", "\"My mother gave me {t}, and now it is gone,\" the {g} answered.", "\"I was playing with {t}, and the wind took it away,\" said the {g}."],
    ["{n} smiled and held it up. \"Is this the one?\"", "\"Then today is your lucky day,\" said {n}. \"Look what I found!\"", "\"Close your eyes,\" said {n}, \"and open your hands.\""],
    ["The {g} jumped for joy and laughed.", "The {g} was so happy that it danced in a circle.", "The {g} could not believe its eyes and gave {n} a big hug."],
    ["To say thank you, the {g} shared a sweet cake with {n}.", "Together they sat down and ate {d}.", "They lit a small fire, ate {d} and sang songs."],
    ["In the afternoon they climbed the highest hill and looked at the clouds.", "They played hide and seek until the sun went down.", "They walked along the river and counted the fish."],
    ["Suddenly it became dark, and they heard a strange noise.", "Then the wind grew strong, and thunder rolled over the hills.", "On the way back they came to a broken bridge."],
    ["\"Do not be afraid,\" said {n}. \"We are two, and two are stronger than one.\"", "The {g} was afraid, but {n} took its hand and went first.", "{n} had an idea: step by step, slowly and carefully, they went on."],
    ["At last they saw the lights of home.", "Soon the moon came out and showed them the way.", "After a long walk they reached the right path again."],
    ["Everyone was waiting for them, and there was hot soup for all.", "Their friends cheered and asked to hear the whole story.", "That night they told the others about their adventure."],
    ["From that day on, {n} and the {g} were best friends.", "From then on they met every day, in sun and in rain.", "And so {n} and the {g} stayed friends for ever."],
    ["The end.", "And if you walk there today, you may hear them laugh.", "And that is how a small find became a big friendship."],
]
SHORT = [0, 1, 4, 6, 8, 9, 10, 17, 18]


def story(r, hero=None, name=None, short=False):
    g = r.choice(HEROES)
    hero = hero or r.choice(HEROES)
    while g == hero:
        g = r.choice(HEROES)
    kw = dict(x=an(hero), n=name or r.choice(NAMES), t=None, f=an(g), g=g, d=r.choice(FOODS))
    p = r.choice(PLACES)
    kw["p"] = an(p)
    th = r.choice(THINGS)
    out = []
    for i, st in enumerate(STAGES):
        if short and i not in SHORT:
            continue
        s = r.choice(st)
        k2 = dict(kw, t=an(th) if i == 4 else "my " + th, p=an(p) if i == 0 else "the " + p)
        for k, v in k2.items():
            s = s.replace("{" + k + "}", str(v))
        out.append(s)
    if short:
        return " ".join(out)
    paras = [out[:4], out[4:11], out[11:16], out[16:]]
    return "\n\n".join(" ".join(x) for x in paras)


def f_story(r):
    if r.random() < 0.25:
        t, p = r.choice(list(PARAGRAPHS.items()))
        q = ex(r, "[Write [a|a short|one] [paragraph|text] about {t}.|Tell me [something |more |]about {t}.|Write [something|a few sentences] about {t}.|Describe {t}[.| for me.| in a few words.]|What can you tell me about {t}?|Explain {t}.]", t=t)
        return T(q, p, None, "a text about " + t, raw=True)
    short = r.random() < 0.4
    hero = r.choice(HEROES) if r.random() < 0.8 else None
    name = person(r) if hero and r.random() < 0.6 else None
    if hero and name and held("story", hero, name):
        return f_story(r)
    sh = r.choice(["short ", "very short ", "little "]) if short else r.choice(["", "", "long ", "nice "])
    q = ex(r, "[Tell me|Write|Please tell me|Please write|Can you tell me|I want|I would like|Make up|Read me|Give me] a {s}story{h}{n}[.||, please.]", s=sh,
           h=f" [about|of] {an(hero)}" if hero else "", n=(r.choice([" called ", " named ", " with the name "]) + name) if name else "")
    q = ex(r, q)
    return T(q, story(r, hero, name, short), None, "a story", raw=True, long=True)


# ---------------------------------------------------------------- remembering


class Mem(dict):
    pass


def tell(r, st):
    """User tells something about themselves; returns a turn and updates st."""
    k = r.choices(["name", "colour", "city", "pet", "food", "number", "both", "word"], [6, 4, 4, 2, 2, 2, 2, 1])[0]
    if k == "name":
        n = person(r)
        q = ex(r, r.choice([
            "[My name is|I am|I'm|My name's|Call me|Please call me|You can call me|People call me|I am called|This is] {n}[.|!|]", "[Hi|Hello|Hey|Good morning|Good day][,|!] [I'm|I am|my name is|this is] {n}[.|!|]",
            "[Actually|By the way|Remember|Just so you know|Please remember], my name is {n}.", "{n} is my name.", "The name is {n}.", "[Everybody|Nobody but you|My mother|The whole town] [knows|calls] me[ as|] {n}.", "[I go by|They call me|Folks call me|You may call me|Just call me|My full name is|My first name is|My parents named me|The name's] {n}[.|!|]",
            "[I would like to|I want to|May I|I should] introduce myself[.|:|?] [I am|I'm|My name is|my name is] {n}.", "[Pleased to meet you|Nice to meet you|Glad to see you|Good evening|Good afternoon], [I am|I'm|my name is|they call me] {n}[.|!|]",
            "[I am|I'm|My name is] {n}, [who are you?|hello!|pleased to meet you.|and I am new here.|good to see you.|and I have a question.|hi there!]", "[Let me|I] tell you who I am: {n}.", "It's me, {n}[.|!]", "You are talking to {n}.", "I want to tell you my name: {n}.", "[Hi|Hello], {n} here[.|!]", "My friends call me {n}.",
        ]), n=n)
        st["name"] = n
        return T(q, f"Nice to meet you, {n}!", None, "the user's name")
    if k == "colour":
        c = r.choice(FAV_COLOURS)
        st["colour"] = c
        q = ex(r, "[My favourite colour is|My favorite color is|The colour I like most is|I like the colour|My best colour is|I love the color|The color I like best is] {c}[.|!|]" if r.random() < 0.8 else "[{C} is my favourite colour.|{C} is my favorite color.|I think {c} is the best colour.]", c=c, C=cap(c))
        return T(q, f"I will remember that your favourite colour is {c}.", None, "the user's colour")
    if k == "city":
        c = city(r)
        st["city"] = c
        q = ex(r, "[I live in|My home is in|I am from|I come from|My home town is|I'm from|My city is|I was born and live in|My house is in] {c}[.|!||.|.|.| now.| with my family.| for ten years.| and I like it.| since last year.| with my {w}.]", c=c, w=r.choice(PETS))
        return T(q, f"I will remember that you live in {c}.", None, "the user's home")
    if k == "pet":
        p, n = r.choice(PETS), r.choice(PET_NAMES) if r.random() < 0.6 else person(r)
        st["pet"] = (p, n)
        q = ex(r, "[I have a {p} called {n}.|My {p} is called {n}.|My {p}'s name is {n}.|I have a {p}. Its name is {n}.|I have a {p} named {n}.]", p=p, n=n)
        return T(q, f"I will remember that your {p} is called {n}.", None, "the user's pet")
    if k == "food":
        f = r.choice(FOODS)
        st["food"] = f
        q = ex(r, "[My favourite food is|My favorite food is|The food I like most is|I like to eat|Most of all I love to eat] {f}[.|!|]", f=f)
        return T(q, f"I will remember that you like {f}.", None, "the user's food")
    if k == "number":
        n = r.randint(0, 9999)
        st["number"] = n
        q = ex(r, "[Remember the number {n}.|Please remember this number: {n}.|My lucky number is {n}.|The number is {n}. Remember it.|Keep the number {n} in mind.|My favourite number is {n}.]", n=n)
        return T(q, f"I will remember the number {n}.", None, "a number")
    if k == "word":
        w = made_up(r).lower() if r.random() < 0.5 else r.choice(WORDS_EN)
        st["word"] = w
        q = ex(r, "[The secret word is|The password is|My secret word is|Remember the word|Please remember this word:|Keep this secret word in mind:] {w}[.|]", w=w)
        return T(q, f"I will remember the word {w}.", None, "a word")
    n, c = person(r), city(r)
    st["name"], st["city"] = n, c
    if r.random() < 0.5:
        q = ex(r, "[My name is|I am|I'm|Hi, I am|Hello, my name is] {n} and I [live in|come from|am from] {c}.", n=n, c=c)
        return T(q, f"Nice to meet you, {n}! I will remember that you live in {c}.", None, "the user's name")
    f = r.choice(FAV_COLOURS)
    del st["city"]
    st["colour"] = f
    q = ex(r, "[My name is|I am|I'm|Hi, I am|Hello, my name is] {n} and my [favourite colour|favorite color] is {c}.", n=n, c=f)
    return T(q, f"Nice to meet you, {n}! I will remember that your favourite colour is {f}.", None, "the user's name")


RECALL = {
    "name": "[What is my name?|What's my name?|Do you remember my name?|Who am I?|What am I called?|Can you tell me my name?|Tell me my name[.|, please.]|Do you know my name?|Do you still know my name?|What did I say my name was?|How am I called?|Say my name.|And my name?|What was my name again?|Do you know who I am?|Which name did I tell you?|I forgot my name. What is it?|Could you say my name?|Would you tell me my name?|I want to hear my name.|What name did I give you?|What name do I have?|Now tell me what my name is.|Please say my name.|You know my name, right?|Can you repeat my name?|Remember me? What is my name?|How do people call me?|Please tell me who I am.|My name, please.|Let me see if you remember my name.|Then what is my name?|Is my name still in your memory?]",
    "colour": "[What is my favourite colour?|What is my favorite color?|What's my favourite colour?|Which colour do I like[| most| best]?|Do you remember my favourite colour?|Tell me my favorite color.|Do you know my favourite colour?|What colour did I tell you?|And my favourite colour?|What was my favourite colour again?|Which color is my favorite?]",
    "city": "[Where do I live?|Which city do I live in?|In which city do I live?|Where am I from?|Do you remember where I live?|What is my city?|What is my home town?|Where is my home?|Tell me where I live.|Do you know where I live?|Which city did I tell you?|Where do I come from?]",
    "pet": "[What is my {p} called?|What is the name of my {p}?|What's my {p}'s name?|Do you remember the name of my {p}?|How is my {p} called?|Tell me the name of my {p}.|What did I say my {p} is called?]",
    "food": "[What do I like to eat?|What is my favourite food?|What is my favorite food?|Which food do I like[| most]?|Do you remember my favourite food?|Tell me what I like to eat.]",
    "number": "[Which number did I tell you?|What number did I tell you?|What was the number[| again]?|What is my [lucky |favourite |]number?|Do you remember the number?|Tell me the number.|Which number should you remember?]",
    "word": "[What is the secret word?|What is the password?|Which word did I tell you?|What was the [secret word|password|word][| again]?|Do you remember the [word|password|secret word]?|Tell me the [secret word|password|word].|Which word should you remember?]",
}


def recall_answer(st, k):
    if k not in st:
        return {"name": ("I do not know your name yet.", None), "colour": ("I do not know your favourite colour yet.", None), "city": ("I do not know where you live yet.", None),
                "food": ("I do not know what you like to eat yet.", None), "number": ("You did not tell me a number yet.", None), "word": ("You did not tell me a word yet.", None)}[k]
    v = st[k]
    return {"name": lambda: (f"Your name is {v}.", v), "colour": lambda: (f"Your favourite colour is {v}.", cap(v)), "city": lambda: (f"You live in {v}.", v),
            "pet": lambda: (f"Your {v[0]} is called {v[1]}.", v[1]), "food": lambda: (f"You like {v}.", cap(v)), "number": lambda: (f"The number is {v}.", str(v)),
            "word": lambda: (f"The word is {v}.", cap(v))}[k]()


def recall(r, st):
    ks = [k for k in st if k in RECALL]
    if ks and r.random() < 0.9:
        k = r.choice(ks)
    else:
        k = r.choice(["name", "name", "colour", "city", "food", "number", "word"])
    q = ex(r, RECALL[k], p=st[k][0] if k == "pet" else "")
    a, s = recall_answer(st, k)
    if k == "name" and k in st and r.random() < 0.12:
        return T(ex(r, "[Say hello to me|Greet me|Say hi to me][.|!|, please.]"), f"Hello, {st['name']}!", None, "a greeting")
    return T(q, a, s, "what the user told me")


# ---------------------------------------------------------------- tools


def tool(r, name, desc, props, req=None):
    """props: list of (name, type, description)."""
    full = r.random()
    p = {}
    for n, t, d in props:
        p[n] = {"type": t} if full < 0.35 else {"type": t, "description": d}
    params = {"type": "object", "properties": p, "required": req or [props[0][0]] if req is None else req}
    if r.random() < 0.15:
        params.pop("required")
    f = {"name": name, "description": desc, "parameters": params}
    if r.random() < 0.08:
        f.pop("description")
    t = {"type": "function", "function": f}
    if r.random() < 0.15:
        t = json.loads(json.dumps(t, sort_keys=True))
    return t


CONDITIONS = "sunny cloudy rainy windy snowy foggy stormy clear".split()


def tw_weather(r):
    a = r.choices(["city", "location", "place", "town"], [7, 3, 1, 1])[0]
    nm = r.choices(["get_weather", "weather", "get_current_weather", "current_weather", "lookup_weather"], [8, 1, 2, 1, 1])[0]
    props = [(a, "string", r.choice(["The city", "City name", "The name of the city", "The city to look up", "Name of the place, for example Paris"]))]
    if r.random() < 0.15:
        props.append(("unit", "string", r.choice(["celsius or fahrenheit", "The unit"])))
    tl = tool(r, nm, r.choice(["Get the weather for a city", "Get the current weather in a city", "Returns the weather of a city.", "Look up the weather.", "Tells the current weather at a place", "Weather report for a city"]), props, [a])

    def ask(r):
        def one():
            t, c = r.randint(-20, 40), r.choice(CONDITIONS)
            return t, c
        q = ex(r, "[What is|What's|How is|Tell me|Check|Get|Show me] the weather [like |]in {c}[| today| now| right now][?|.|]" if r.random() < 0.5 else
               "[Is it [sunny|raining|cold|warm|hot|snowing|windy] in {c}[| today| now]?|How [warm|cold|hot] is it in {c}[| today| now]?|What is the temperature in {c}[| today| now]?|Do I need an umbrella in {c}[| today]?|Weather in {c}[?||, please]|I am going to {c}. How is the weather?|{c} weather[?|]|Can you [check|tell me] the weather [in|for] {c}?|Please look up the weather [in|for] {c}.|What will the weather be in {c}?|I want to know the weather [in|for] {c}.|[I travel|We travel|We drive|I fly|We go|She goes|My friend goes] to {c} [today|next week|soon|on Monday]. [What is the weather like?|How will the weather be?|Is the weather good there?|What is the weather there?|Tell me the weather.]|[Would you|Can you please|Please|Could you] [look up|check|get|tell me|show me|find] the weather [in|for|of] {c}[.|?]|Find out [the weather in {c}|what the weather is like in {c}].|Do you know how the weather is in {c}?|I am in {c}. [What is the weather like?|Do I need a coat?|Will it rain?]|Let me know the weather in {c}.|My mother lives in {c}. How is the weather there?|How are the skies over {c}?|What does the weather do in {c}?|Is it nice outside in {c}?|{c}: how is the weather?|Give me the weather report for {c}.]")
        n = 2 if r.random() < 0.07 else 1
        cs = [city(r) for _ in range(n)]
        tail = ""
        if r.random() < 0.3:
            q = q.replace("{c}?", "{c}{t}?").replace("{c}.", "{c}{t}.")
            tail = ex(r, "[ for me| for us| for my trip| tomorrow| next week| this evening| this weekend| on Sunday| at noon| then| because I am curious| so that I can pack| if you can| with your tool| before I leave| at the moment| by the way| as soon as possible| for my mother| later| tonight| and tell me| and let me know| again| {w}| for {w}| with {w} and {v}]", w=r.choice(WORDS_EN), v=r.choice(WORDS_EN))
        q = q.replace("{t}", tail if tail.strip() else "").replace("{c}", " and ".join(cs))
        resp, ans = [], []
        for c in cs:
            t, w = one()
            resp.append(r.choice([
                json.dumps({"temperature": t, "condition": w}), json.dumps({"city": c, "temperature": t, "condition": w}, ensure_ascii=False),
                json.dumps({"condition": w, "temperature": t}), f"{w}, {t} degrees", f"{t} degrees and {w}", f"{cap(w)}, {t}°C", json.dumps({"temp": t, "weather": w}),
                json.dumps({a: c, "weather": w, "temperature": t}, ensure_ascii=False), json.dumps({"temperature": t, "condition": w}, separators=(",", ":"))]))
            ans.append(f"It is {w} and {t} degrees in {c}.")
        return q, [(nm, {a: c}) for c in cs], resp, " ".join(ans)
    return tl, ask


def tw_calc(r):
    nm, a = r.choices(["calculate", "calculator", "compute", "eval_expression"], [8, 2, 1, 1])[0], r.choices(["expression", "expr", "formula", "input"], [8, 1, 1, 1])[0]
    tl = tool(r, nm, r.choice(["Calculate an expression", "Evaluate an arithmetic expression", "Work out a sum.", "Evaluates a mathematical expression and returns the result", "A calculator"]),
              [(a, "string", r.choice(["The expression", "The expression to evaluate", "An arithmetic expression, for example 2 + 3", "What to calculate"]))])

    def ask(r):
        op = r.choice("+-*/")
        d = r.choice([10, 100, 1000, 10000])
        x, y = r.randint(0, d), r.randint(0 if op != "/" else 1, r.choice([10, 100, 1000]))
        if held("sum", x, op, y):
            return ask(r)
        q = sum_question(r, x, op, y)
        v = {"+": x + y, "-": x - y, "*": x * y, "/": round(x / y, 2) if op == "/" else 0}[op]
        if op == "/" and v == int(v):
            v = int(v)
        resp = r.choice([str(v), json.dumps({"result": v}), json.dumps({"value": v}), json.dumps({"result": str(v)}), f"Result: {v}", f"{x} {op} {y} = {v}"])
        return q, [(nm, {a: f"{x} {op} {y}"})], [resp], f"The result is {v}."
    return tl, ask


def tw_timer(r):
    nm, a = r.choices(["set_timer", "start_timer", "timer"], [7, 2, 1])[0], r.choices(["minutes", "duration_minutes", "duration"], [8, 1, 1])[0]
    tl = tool(r, nm, r.choice(["Set a timer", "Start a timer", "Sets a timer for some minutes.", "Start a kitchen timer"]), [(a, r.choice(["integer", "integer", "number"]), r.choice(["Number of minutes", "The minutes", "How many minutes", "Duration in minutes"]))])

    def ask(r):
        n = r.randint(1, 120)
        w = number_words(n) if n <= 20 and r.random() < 0.25 else str(n)
        q = ex(r, "[Set a timer for {n} minutes|Start a timer for {n} minutes|Set a {n} minute timer|Timer for {n} minutes|Please set a timer to {n} minutes|Start a {n} minute timer|Wake me in {n} minutes|Remind me in {n} minutes|I need a timer for {n} minutes|Can you set a timer for {n} minutes|Tell me when {n} minutes are over|My eggs need {n} minutes. Set a timer|{n} minutes timer, please|Would you set a timer for {n} minutes|Please start a timer with {n} minutes|My tea needs {n} minutes, start a timer|The cake takes {n} minutes. Please start the timer|The soup must cook {n} minutes, so set a timer|Give me {n} minutes on the timer|Could I have a timer for {n} minutes|Count down {n} minutes|Ring in {n} minutes|Set the clock to {n} minutes][.||!]", n=w)
        resp = r.choice(["ok", "OK", "done", json.dumps({"status": "ok"}), json.dumps({"status": "started", a: n}), "Timer set.", json.dumps({"ok": True}), "Timer started"])
        return q, [(nm, {a: n})], [resp], f"The timer is set for {n} minutes."
    return tl, ask


def sentence(r):
    x = r.random()
    if x < 0.4:
        return r.choice(re.split(r"(?<=\.) ", r.choice(list(PARAGRAPHS.values()))))
    if x < 0.7:
        return ex(r, "[The|A|Every] {a} [lives in|comes from|likes|was found in|is near|was seen in] {c}.", a=r.choice(WORDS_EN), c=city(r))
    return ex(r, "{p} [was born|lived|worked|painted|wrote a book|won a prize] in {c} in {y}.", p=person(r) + " " + made_up(r), c=city(r), y=r.randint(1500, 2025))


def tw_search(r):
    nm, a = r.choices(["search", "web_search", "search_web", "find"], [8, 2, 1, 1])[0], r.choices(["query", "q", "text", "term"], [8, 1, 1, 1])[0]
    tl = tool(r, nm, r.choice(["Search the web", "Search for something", "Looks something up on the internet.", "Search the internet for a text", "Find pages"]), [(a, "string", r.choice(["The search query", "What to search for", "Query text", "The query"]))])

    def ask(r):
        x = phrase(r, 1, 4) if r.random() < 0.6 else r.choice([person(r) + " " + made_up(r), "the history of " + city(r), "news about " + r.choice(WORDS_EN), "how to make " + r.choice(FOODS), "best " + r.choice(WORDS_EN) + " in " + city(r)])
        q = ex(r, '[Search for {x}|Search the web for {x}|Look up {x}|Find {x}|Please search for {x}|Find information about {x}|Can you search for {x}|Search: {x}|Google {x}|Search the internet for {x}|I want to search for {x}|Look for {x} on the web|Search for "{x}"|Do a search for {x}][.|]', x=x)
        s = sentence(r)
        resp = r.choice([s, json.dumps({"result": s}, ensure_ascii=False), json.dumps({"results": [s]}, ensure_ascii=False), json.dumps([s], ensure_ascii=False), json.dumps({"text": s}, ensure_ascii=False)])
        return q, [(nm, {a: x})], [resp], f"I found this: {s}"
    return tl, ask


def tw_time(r):
    nm, a = r.choice(["get_time", "current_time", "get_current_time"]), r.choice(["city", "location", "place"])
    tl = tool(r, nm, r.choice(["Get the time in a city", "Tells the current time", "Current local time of a place"]), [(a, "string", "The city")])

    def ask(r):
        c = city(r)
        q = ex(r, "[What time is it in {c}?|What is the time in {c}?|Tell me the time in {c}.|How late is it in {c}?|Current time in {c}?]", c=c)
        t = f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d}"
        return q, [(nm, {a: c})], [r.choice([t, json.dumps({"time": t})])], f"It is {t} in {c}."
    return tl, ask


def tw_message(r):
    nm = r.choice(["send_message", "send_text", "message"])
    tl = tool(r, nm, r.choice(["Send a message to someone", "Sends a text message."]), [("to", "string", "The person"), ("text", "string", "The text")], ["to", "text"])

    def ask(r):
        p, x = person(r), phrase(r, 1, 5)
        q = ex(r, '[Send a message to {p}: {x}|Send {p} the message "{x}"|Message {p}: {x}|Write to {p}: {x}|Tell {p}: {x}|Text {p} "{x}"]', p=p, x=x)
        return q, [(nm, {"to": p, "text": x})], [r.choice(["ok", "sent", json.dumps({"status": "sent"})])], f"I sent your message to {p}."
    return tl, ask


def tw_music(r):
    nm, a = r.choice(["play_music", "play_song", "play"]), r.choice(["title", "song", "name"])
    tl = tool(r, nm, r.choice(["Play a song", "Plays music"]), [(a, "string", "The song")])

    def ask(r):
        x = phrase(r, 1, 3)
        q = ex(r, '[Play {x}|Play the song {x}|Please play {x}|Play "{x}"|I want to hear {x}|Put on {x}][.|]', x=x)
        return q, [(nm, {a: x})], [r.choice(["ok", "playing", json.dumps({"status": "playing"})])], f"Now playing: {x}"
    return tl, ask


def tw_light(r):
    nm, a = r.choice(["turn_on_light", "light_on", "switch_light"]), r.choice(["room", "place"])
    tl = tool(r, nm, r.choice(["Turn on the light in a room", "Switches a light on"]), [(a, "string", "The room")])

    def ask(r):
        x = r.choice("kitchen,bathroom,bedroom,living room,garden,cellar,hall,office,garage,attic".split(","))
        q = ex(r, "[Turn on the light in the {x}|Switch on the {x} light|Light in the {x}, please|Make it bright in the {x}|Turn the {x} light on][.|]", x=x)
        return q, [(nm, {a: x})], [r.choice(["ok", "on", json.dumps({"status": "on"})])], f"The light in the {x} is on."
    return tl, ask


def tw_generic(r):
    v = r.choice("add remove open close create delete show start stop book order find get set update".split())
    n = r.choice("item note file page list task ticket room order user project event photo contact".split())
    nm = f"{v}_{n}"
    a = r.choice(["name", "id", "value", "title", "label", "key"])
    typ = r.choice(["string", "string", "integer"])
    props = [(a, typ, r.choice(["The " + a, "The " + a + " of the " + n]))]
    two = r.random() < 0.25
    b = r.choice(["count", "amount", "size"])
    if two:
        props.append((b, "integer", "The " + b))
    tl = tool(r, nm, f"{cap(v)} {an(n)}", props, [x[0] for x in props])

    def ask(r):
        x = phrase(r, 1, 2) if typ == "string" else r.randint(0, 9999)
        args = {a: x}
        if two:
            args[b] = r.randint(1, 99)
            q = ex(r, "[{V} {w} with {a} {x} and {b} {y}|{V} {w} with the {a} {x} and the {b} {y}|Please {v} {w} with {a} {x} and {b} {y}|Use {f} with {a} {x} and {b} {y}][.|]", b=b, y=args[b], a=a, x=x, f=nm, v=v, V=cap(v), w=an(n))
        else:
            q = ex(r, "[{V} {w} with {a} {x}|{V} {w} with the {a} {x}|{V} the {n} with the {a} {x}|Please {v} the {n} {x}|{V} the {n} {x}|Use {f} with {a} {x}|Call {f} with {x}|Use the tool {f}: {x}][.|]", a=a, x=x, f=nm, v=v, V=cap(v), w=an(n), n=n)
        return q, [(nm, args)], [r.choice(["ok", "done", json.dumps({"status": "ok"}), json.dumps({"success": True})])], "Done."
    return tl, ask


TOOLMAKERS = [(tw_weather, 6), (tw_calc, 6), (tw_timer, 5), (tw_search, 5), (tw_time, 1), (tw_message, 1.5), (tw_music, 1), (tw_light, 1), (tw_generic, 3)]
NO_TOOL = {"tw_weather": "I cannot check the weather, because I have no tool for that.", "tw_timer": "I cannot set a timer, because I have no tool for that.",
           "tw_search": "I cannot search, because I have no tool for that.", "tw_calc": "That sum is too big for me, and I have no tool for it."}


def no_tool_turn(r, have=()):
    f = r.choice([m for m in (tw_weather, tw_timer, tw_search, tw_calc) if m not in have] or [None])
    if f is None:
        return None
    _, ask = f(r)
    for _ in range(50):
        q, calls, _, _ = ask(r)
        if f is tw_calc:
            x, op, y = next(iter(calls[0][1].values())).split()
            big = max(int(x), int(y)) > 10 if op == "*" else min(int(x), int(y)) > 99 or (op == "/" and int(x) > 20)
        if f is not tw_calc or big:
            return T(q, NO_TOOL[f.__name__], None, "something that needs a tool")
    return None


# ---------------------------------------------------------------- conversations

SKILLS = [(f_capital, 10), (f_country, 4), (f_colour, 5), (f_opposite, 6), (f_animal, 7), (f_time, 7), (f_science, 8), (f_emoji, 4), (f_word, 6), (f_identity, 4),
          (f_smalltalk, 2), (f_unknown, 3.5), (f_list, 3), (f_sum, 18), (f_number, 3), (f_count, 2.5), (f_repeat, 6), (f_story, 3)]
SK, SW = zip(*SKILLS)

NEUTRAL = """You are a helpful assistant.|You are a friendly assistant.|You are a small helpful model.|Be helpful.|Answer the user's questions.|You are Tiny, a test model.|You are an AI assistant.
Be kind and answer clearly.|You are a helpful assistant. Answer clearly.|You are a chat assistant.|Help the user.|You are a helpful, honest assistant.|Today is a nice day. Be friendly.""".replace("\n", "|").split("|")
ONE_WORD = ["Answer in one word.", "Answer with one word.", "Answer with one word only.", "Reply with one word.", "Give one-word answers.", "Use one word only.", "Always answer in a single word.", "Answer in one word only.",
            "Reply with a single word.", "Be very short: one word.", "Please answer with just one word.", "You answer in one word.", "Only answer with one word, nothing else.", "Your answers are one word long."]
CALLED = ["You are called {n}.", "Your name is {n}.", "You are {n}.", "You are {n}, a friendly robot.", "You are an assistant called {n}.", "You are {n}, a helpful assistant.", "Act as {n}.", "Your name is {n}. You are a helpful assistant.",
          "You are an assistant named {n}.", "You are a helpful assistant called {n}.", "Be {n}.", "From now on you are {n}."]
PREFIX = ['[Begin|Start] [every|each|your] answer with "{x}".', '[Always|Please] [begin|start] with "{x}".', '[Always|Please] [begin|start] your answers with "{x}".', 'Say "{x}" before [every|each] answer.', 'Every answer [begins|starts] with "{x}".']
SUFFIX = ['[End|Finish] [every|each|your] answer with "{x}".', '[Always|Please] [end|finish] with "{x}".', '[Always|Please] [end|finish] your answers with "{x}".', 'Say "{x}" after [every|each] answer.', 'Every answer ends with "{x}".']
JSON_SYS = ['Answer as JSON with the key "answer".', 'Reply in JSON: {"answer": "..."}.', 'Always answer with a JSON object that has the key "answer".', "Answer in JSON.", "Use JSON for your answers.", 'Give your answer as JSON, like {"answer": "..."}.']
AFFIX = ["Sure!", "Yes!", "Ahoy!", "Of course:", "Well,", "Beep.", "Over.", "Hooray!", "Thank you.", "Have a nice day!", "Okay:", "Meow!", "My friend,", "Arr!", "Cheers!", "That is all.", "😀", "⭐", "🤖", "🎉"]


def affix(r):
    x = r.random()
    return r.choice(AFFIX) if x < 0.6 else made_up(r) + r.choice(["!", ".", ":", ""]) if x < 0.85 else cap(r.choice(WORDS_EN)) + r.choice(["!", ".", ""])


WHO = """boy girl man woman teacher farmer baker king queen doctor pupil baby student driver painter singer cook sailor pilot nurse writer guest visitor neighbour friend cousin brother sister
mother father aunt uncle grandmother colleague stranger tourist reader listener player player actor dancer lawyer judge waiter bird fox robot wizard dragon computer book song letter poem""".split()


def asks(r, np):
    """Someone else asks."""
    return ex(r, r.choice(["[A|My|The|One|Another|Your|Every|This|Some|A small|An old|A young|The new] {w} [asks|wants to know|wonders|asked|wondered|would like to know|asks me|asks you|asks us]{c} {x}{e}"]),
              w=r.choice(WHO), c=r.choice([":", "", "", ","]), x=np, e=r.choice([".", "?", "", ". Please answer.", ". What do I say?", ". Can you help?"]))


FILL = "just maybe really then actually kindly now quickly exactly well so again perhaps um today simply".split()
BEFORE = "Good morning. |It is for school. |My friend wants to know this. |I am curious. |It is for a quiz. |Let us play a quiz. |I have to know this. |One more thing. |Next question. |Sorry to ask. |Listen. |A small question for you. |Please help me. |I am learning. |Dear Tiny, |Excuse me, |Let me ask you something. |Here is a question: |My grandma asks: |For the test: ".split("|")
AFTER = " Thank you!| Thanks.| I forgot it.| It is for school.| Please be quick.| I am not sure.| Please tell me.| Do you know?| I would like to know.| I am curious.| Thanks in advance!| Just the answer.| My friend wants to know.".split("|")


def noisy(r, u):
    x = r.random()
    if r.random() < 0.14:
        w = u.split(" ")
        if r.random() < 0.7:
            w.insert(r.randrange(len(w)), r.choice(FILL))
        elif len(w) > 4:
            i = r.randrange(len(w))
            if w[i].lower() in ("the", "is", "of", "a", "an", "do", "you", "please", "me", "tell", "does", "what", "can"):
                del w[i]
        u = " ".join(w)
    y = r.random()
    if y < 0.08:
        u = r.choice(BEFORE) + u
    elif y < 0.14:
        u = u + r.choice(AFTER)
    if x < 0.06:
        return u.lower()
    if x < 0.10 and u.endswith(("?", ".", "!")):
        return u[:-1]
    if x < 0.12:
        return u.upper() if len(u) < 40 and not re.search(r"[{\"]", u) else u
    return u


SAFE_LOWER = {"a capital", "a country", "a language", "a colour", "an opposite", "an animal sound", "a baby animal", "legs", "a plural", "the order of time", "a month", "time", "a planet", "a shape",
              "an emoji", "a translation", "my name", "MLX", "me", "small talk", "a sum", "a number", "two numbers", "science"}


def conversation(r, turns=None):
    """-> dict(messages, tools, thinking) ; thinking: None | False | True for the last answer."""
    st = Mem()
    msgs = []
    kind = r.choices(["plain", "memory", "style", "tools", "many"], [34, 20, 13, 30, 3])[0]
    n = turns or r.choices([1, 2, 3, 4, 5, 6, 8, 10], [30, 18, 14, 10, 8, 6, 4, 3])[0]
    if kind == "many":
        n = r.randint(12, 60)
    sys_parts = []
    style = None
    who, named = "Tiny", False
    if kind in ("plain", "memory", "many", "tools") and r.random() < 0.35:
        if r.random() < 0.6:
            sys_parts.append(r.choice(NEUTRAL))
        elif r.random() < 0.5:
            who, named = person(r), True
            sys_parts.append(r.choice(CALLED).replace("{n}", who))
        else:
            nme = person(r)
            st["name"] = nme
            if r.random() < 0.4:
                st["city"] = city(r)
                sys_parts.append(ex(r, "[The user is called {n} and lives in {c}.|The user's name is {n}. The user lives in {c}.]", n=nme, c=st["city"]))
            else:
                sys_parts.append(ex(r, "[The user is called {n}.|The user's name is {n}.|You talk to {n}.|You are a helpful assistant. The user is called {n}.]", n=nme))
    if kind == "style":
        style = r.choices(["one", "prefix", "suffix", "json", "named"], [5, 2, 2, 2, 3])[0]
        if style == "named" or r.random() < 0.2:
            who, named = person(r), True
            sys_parts.append(r.choice(CALLED).replace("{n}", who))
        x = affix(r)
        if style == "one":
            sys_parts.append(r.choice(ONE_WORD))
        elif style == "prefix":
            sys_parts.append(ex(r, r.choice(PREFIX), x=x))
        elif style == "suffix":
            sys_parts.append(ex(r, r.choice(SUFFIX), x=x))
        elif style == "json":
            sys_parts.append(r.choice(JSON_SYS))
        if r.random() < 0.2:
            sys_parts.insert(0, r.choice(NEUTRAL[:6]))
        if r.random() < 0.1:
            r.shuffle(sys_parts)
    tools, asks, makers = [], [], []
    if kind == "tools":
        for _ in range(r.choices([1, 2, 3, 4, 5], [30, 25, 20, 17, 8])[0]):
            m = r.choices([x for x, _ in TOOLMAKERS], [w for _, w in TOOLMAKERS])[0]
            if m in makers and m is not tw_generic:
                continue
            t, a = m(r)
            if any(t["function"]["name"] == z["function"]["name"] for z in tools):
                continue
            tools.append(t), asks.append(a), makers.append(m)
        n = min(n, 5)
    has_calc = tw_calc in makers
    has_search = tw_search in makers

    def plain_turn():
        while True:
            f = r.choices(SK, SW)[0]
            t = f(r, who, named) if f is f_identity else f(r)
            if has_calc and f is f_sum:
                continue
            if style == "one" and t["s"] is None:
                continue
            if style == "json" and (t.get("long") or '"' in t["a"] or "\n" in t["a"]):
                continue
            if has_search and f is f_unknown:
                continue
            return t

    def styled(t):
        a = t["a"]
        if style == "one":
            return t["s"] or "Okay"
        if style == "prefix":
            return x + " " + a
        if style == "suffix":
            return a + " " + x
        if style == "json":
            return json.dumps({"answer": t["s"] or a}, ensure_ascii=False)
        return a

    last = None
    for i in range(n):
        if kind == "memory" or (kind in ("many", "style", "plain") and r.random() < 0.12):
            p = r.random()
            told = any(k in st for k in RECALL)
            if i == 0 and kind == "memory":
                t = tell(r, st) if r.random() < 0.92 else recall(r, st)
            elif i == n - 1 and (told or r.random() < 0.3) and kind == "memory":
                t = recall(r, st)
            elif p < 0.2:
                t = tell(r, st)
            elif p < 0.5:
                t = recall(r, st)
            else:
                t = plain_turn()
        elif kind == "tools" and r.random() < 0.72:
            q, calls, resp, ans = r.choice(asks)(r)
            if r.random() < 0.08:
                q = r.choice(BEFORE) + q
            msgs.append(dict(role="user", content=q))
            msgs.append(dict(role="assistant", content="", tool_calls=[dict(type="function", function=dict(name=c[0], arguments=c[1])) for c in calls]))
            last = dict(l="something that a tool can do")
            if i == n - 1 and r.random() < 0.45:
                break
            for y in resp:
                msgs.append(dict(role="tool", content=y))
            msgs.append(dict(role="assistant", content=ans))
            last = dict(l="something, and the tool has answered")
            continue
        elif kind in ("plain", "tools") and r.random() < 0.06:
            t = no_tool_turn(r, makers) or plain_turn()
            if has_search and t["a"].startswith("I cannot search"):
                t = plain_turn()
        else:
            t = plain_turn()
        u = t["u"]
        a = styled(t)
        if style is None and t["s"] and r.random() < 0.05:
            a = t["s"]
            u = ex(r, "[In one word: {u}|{u} Answer in one word.|{u} One word only.|Answer with one word: {u}|{u} (one word)]", u=u)
        elif r.random() < 0.5 and not t.get("raw"):
            u0 = ex(r, ASK)
            u = u0 + u if r.random() < 0.5 else u
        if t["l"] in SAFE_LOWER:
            u = noisy(r, u)
        msgs.append(dict(role="user", content=u))
        msgs.append(dict(role="assistant", content=a))
        last = t
    if sys_parts:
        msgs.insert(0, dict(role="system", content=" ".join(sys_parts) if r.random() < 0.9 else "\n".join(sys_parts)))
    thinking = r.choices([None, False, True], [72, 20, 8])[0]
    think = None
    if thinking and msgs[-2]["role"] != "user":
        thinking = None
    if thinking:
        msgs[-2]["content"] += r.choice([" /think", " /think", "\n/think", "/think"])
        think = last.get("think") or f"The user asks about {last.get('l') or 'something'}."
    return dict(messages=msgs, tools=tools, thinking=thinking, think=think)


# ---------------------------------------------------------------- rendering, as chat_template.jinja does it


def dumps(x):
    return json.dumps(x, ensure_ascii=False)


TOOLS_HEAD = "# Tools\n\nYou can call these functions:\n<tools>"
TOOLS_TAIL = "\n</tools>\n\nTo call a function, answer with its name and arguments as JSON:\n<tool_call>\n{\"name\": <name>, \"arguments\": <arguments>}\n</tool_call>"


def render_assistant(m):
    s = m["content"]
    for i, c in enumerate(m.get("tool_calls") or []):
        if i or s:
            s += "\n"
        s += '<tool_call>\n{"name": "' + c["function"]["name"] + '", "arguments": ' + dumps(c["function"]["arguments"]) + "}\n</tool_call>"
    return s


def render(conv):
    """The whole conversation as text, the last answer in the chosen thinking mode."""
    out = []
    ms = conv["messages"]
    sysm = ms[0]["content"] if ms[0]["role"] == "system" else None
    if conv["tools"]:
        out.append("<|im_start|>system\n" + (sysm + "\n\n" if sysm else "") + TOOLS_HEAD + "".join("\n" + dumps(t) for t in conv["tools"]) + TOOLS_TAIL + "<|im_end|>\n")
    elif sysm is not None:
        out.append("<|im_start|>system\n" + sysm + "<|im_end|>\n")
    if sysm is not None:
        ms = ms[1:]
    for i, m in enumerate(ms):
        if m["role"] == "user":
            out.append("<|im_start|>user\n" + m["content"] + "<|im_end|>\n")
        elif m["role"] == "tool":
            if i == 0 or ms[i - 1]["role"] != "tool":
                out.append("<|im_start|>user")
            out.append("\n<tool_response>\n" + m["content"] + "\n</tool_response>")
            if i == len(ms) - 1 or ms[i + 1]["role"] != "tool":
                out.append("<|im_end|>\n")
        else:
            out.append("<|im_start|>assistant\n")
            if i == len(ms) - 1 and conv["thinking"] is not None:
                out.append("<think>\n" + (conv["think"] or "") + "\n</think>\n\n")
            out.append(render_assistant(m) + "<|im_end|>\n")
    return "".join(out)


SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
QWEN2_RE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train_tokenizer(out, n=30000, vocab=2048):
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    r = random.Random(4242)
    texts = []
    for i in range(n):
        t = render(conversation(r, turns=r.randint(1, 3)))
        texts.append(re.sub("|".join(re.escape(s) for s in SPECIALS), "\n", t))
    # Half of the non-ASCII characters are left out here, so that many of them stay in byte pieces.
    texts = [t if r.random() < 0.12 else re.sub(r"[^\x00-\x7f]+", " ", t) for t in texts]
    tok = Tokenizer(models.BPE(fuse_unk=False, byte_fallback=False))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2_RE), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab - len(SPECIALS), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False, min_frequency=2))
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS[:3]])
    tok.add_tokens([AddedToken(s, special=False, normalized=False) for s in SPECIALS[3:]])
    d = json.loads(tok.to_str())
    d["added_tokens"] = sorted(d["added_tokens"], key=lambda t: t["id"])
    with open(out + "/tokenizer.json", "w", encoding="utf-8") as f:
        json.dump(d, f, ensure_ascii=False, separators=(",", ":"))
    print("vocabulary", tok.get_vocab_size())


if __name__ == "__main__":
    if sys.argv[1] == "sample":
        r = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
        for _ in range(int(sys.argv[2])):
            print(render(conversation(r)))
            print("-" * 60)
    elif sys.argv[1] == "tokenizer":
        train_tokenizer(sys.argv[2])
