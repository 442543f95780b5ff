"""Question makers for the miniature benchmarks, in the benchmarks' own forms.

`make_data.py` takes the test items from here, `train_model.py` the training items; what is a test
item is never a training item. Worked answers are short, so that a tiny model can learn them.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

from demo import tables
from demo.families import add_or_subtract, article, other


@dataclass(frozen=True)
class Choice:
    """A multiple-choice question; `answer` is the position of the right choice."""

    question: str
    choices: tuple[str, ...]
    answer: int

    @property
    def key(self) -> str:
        """What makes two questions the same."""
        return self.question


@dataclass(frozen=True)
class Worked:
    """A question, the lines of its solution and the final answer."""

    question: str
    solution: str
    answer: str

    @property
    def key(self) -> str:
        """What makes two questions the same."""
        return self.question


@dataclass(frozen=True)
class Passage:
    """A context, a question about it and the answer, which stands in the context."""

    context: str
    question: str
    answer: str

    @property
    def key(self) -> str:
        """What makes two questions the same."""
        return f"{self.context}\n{self.question}"


@dataclass(frozen=True)
class Program:
    """A function to complete: prompt, body, and calls with their expected values."""

    entry_point: str
    prompt: str
    body: str
    calls: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """What makes two problems the same: all but the example."""
        return self.prompt.split(">>>")[0]


def offer(rng: Random, question: str, right: str, wrong: list[str]) -> Choice:
    """Four choices in random order."""
    choices = [right, *rng.sample(sorted(set(wrong) - {right}), 3)]
    rng.shuffle(choices)
    return Choice(question, tuple(choices), choices.index(right))


def geography(rng: Random) -> Choice:
    """Capitals and continents."""
    country = rng.choice(list(tables.CAPITALS))
    capital, continent = tables.CAPITALS[country]
    kind = rng.choice(["capital", "capital", "country", "continent"])
    if kind == "capital":
        question = rng.choice(
            [
                f"The capital of {country} is",
                f"Which of these cities is the capital of {country}?",
                f"The government of {country} sits in",
            ]
        )
        return offer(rng, question, capital, [city for city, _ in tables.CAPITALS.values()])
    if kind == "country":
        question = rng.choice([f"{capital} is the capital of", f"Which country has {capital} as its capital?"])
        return offer(rng, question, country, list(tables.CAPITALS))
    question = rng.choice([f"{country} lies in", f"Which continent is {country} part of?"])
    return offer(rng, question, continent, [place for _, place in tables.CAPITALS.values()])


def mathematics(rng: Random) -> Choice:
    """Small calculations."""
    sign, a, b, result = add_or_subtract(rng)
    word = {"+": "plus", "-": "minus", "*": "times"}[sign]
    question = rng.choice([f"{a} {word} {b} equals", f"What is {a} {sign} {b}?", f"The value of {a} {sign} {b} is"])
    wrong = [str(abs(result + shift)) for shift in (-10, -5, -2, 1, 4, 9, 20)]
    return offer(rng, question, str(result), wrong)


def astronomy(rng: Random) -> Choice:
    """What is special about each planet."""
    planet = rng.choice(list(tables.PLANETS))
    question = rng.choice(
        [
            f"Which planet is {tables.PLANETS[planet]}?",
            f"The planet that is {tables.PLANETS[planet]} is",
            f"One of these planets is {tables.PLANETS[planet]}. It is",
        ]
    )
    if rng.random() < 0.3:
        return offer(
            rng,
            rng.choice([f"{planet} is", f"The planet {planet} is"]),
            tables.PLANETS[planet],
            list(tables.PLANETS.values()),
        )
    return offer(rng, question, planet, list(tables.PLANETS))


def biology(rng: Random) -> Choice:
    """Classes and young of animals."""
    animal = rng.choice(list(tables.ANIMALS))
    kind, young = tables.ANIMALS[animal]
    about = rng.choice(["class", "young", "member"])
    if about == "class":
        question = rng.choice([f"The {animal} is a kind of", f"Which class of animals includes the {animal}?"])
        return offer(rng, question, kind, ["mammal", "bird", "fish", "insect", "amphibian"])
    if about == "young":
        question = rng.choice([f"A young {animal} is known as", f"Which word names the young of the {animal}?"])
        return offer(rng, question, young, [name for _, name in tables.ANIMALS.values()])
    question = rng.choice([f"Which of these animals is {article(kind)}?", f"An example of {article(kind)} is the"])
    return offer(rng, question, animal, [name for name, (group, _) in tables.ANIMALS.items() if group != kind])


def matching(rng: Random) -> Choice:
    """The word of the question among four; it teaches a model what the letters A to D are for."""
    words = [word for group in tables.GROUPS.values() for word in group]
    word = rng.choice(words + list(tables.CAPITALS) + list(tables.ANIMALS) + [str(rng.randint(2, 90))])
    wrong = [str(n) for n in rng.sample(range(2, 90), 6)] if word.isdigit() else words
    return offer(
        rng, rng.choice([f"Which of these is {word}?", f"Find {word} in the list.", f"{word} is"]), word, wrong
    )


SUBJECTS = {
    "high_school_geography": geography,
    "elementary_mathematics": mathematics,
    "astronomy": astronomy,
    "high_school_biology": biology,
}
PRACTICE = {"miscellaneous": matching}  # for training only


def boolean_expressions(rng: Random) -> Worked:
    """Expressions of three or four values, worked from the left, "not" first."""
    num_values = rng.choice([2, 3, 3, 4])
    values = [rng.choice([True, False]) for _ in range(num_values)]
    negated = [rng.random() < 0.4 for _ in values]
    sign = [rng.choice(["and", "or"])] * (num_values - 1)
    words = [f"not {value}" if flag else str(value) for value, flag in zip(values, negated, strict=True)]
    plain = [value != flag for value, flag in zip(values, negated, strict=True)]
    question = " ".join(part for pair in zip(words, [*sign, "is"], strict=True) for part in pair)
    steps = [f"not {value} = {not value}." for value, flag in zip(values, negated, strict=True) if flag]
    result = plain[0]
    for value in plain[1:]:
        before, result = result, (result and value) if sign[0] == "and" else (result or value)
        steps.append(f"{before} {sign[0]} {value} = {result}.")
    return Worked(question, " ".join(steps), str(result))


def object_counting(rng: Random) -> Worked:
    """Fruits, vegetables or instruments among other things, one line for each that counts."""
    group, stranger = rng.sample(["fruit", "vegetable", "instrument"], 2)
    things = [(word, group) for word in rng.sample(tables.GROUPS[group], rng.randint(2, 4))]
    things += [(word, stranger) for word in rng.sample(tables.GROUPS[stranger], rng.randint(1, 2))]
    rng.shuffle(things)
    counts = {1: "", 2: "two", 3: "three"}
    lines, total, owned = [], [], []
    for word, kind in things:
        number = rng.choice([1, 1, 1, 2, 3])
        plural = {
            "radish": "radishes",
            "cherry": "cherries",
            "peach": "peaches",
            "mango": "mangoes",
            "potato": "potatoes",
            "spinach": "spinach leaves",
        }.get(word, f"{word}s")
        owned.append(article(word) if number == 1 else f"{counts[number]} {plural}")
        if kind == group:
            lines.append(f"- {word if number == 1 else plural} ({number})")
            total.append(number)
    question = f"I have {', '.join(owned[:-1])}, and {owned[-1]}. How many {group}s do I have?"
    steps = "\n".join(lines) + f"\n{' + '.join(map(str, total))} = {sum(total)}."
    return Worked(question, steps, str(sum(total)))


def sports_understanding(rng: Random) -> Worked:
    """Whether a player and a deed belong to the same sport."""
    sport = rng.choice(list(tables.SPORTS))
    deed_sport = sport if rng.random() < 0.5 else other(rng, list(tables.SPORTS), sport)
    player, deed = rng.choice(tables.SPORTS[sport][0]), rng.choice(tables.SPORTS[deed_sport][1])
    when = rng.choice(["", " in the final", " last night", " on Friday"])
    question = f'Is the following sentence plausible? "The {player} {deed}{when}."'
    steps = f"A {player} takes part in {sport}. What was done is part of {deed_sport}."
    return Worked(question, steps, "yes" if sport == deed_sport else "no")


BBH_TASKS = {
    "boolean_expressions": boolean_expressions,
    "object_counting": object_counting,
    "sports_understanding": sports_understanding,
}


def word_problem(rng: Random) -> Worked:
    """Gaining, losing and sharing things, in one or two steps."""
    person, friend = rng.sample(tables.PEOPLE, 2)
    things = rng.choice(["apples", "coins", "books", "cards", "pencils", "shells", "stamps", "marbles"])
    kind = rng.choice(["gain", "lose", "both", "packs", "gain and lose"])
    a, b, c = rng.randint(3, 20), rng.randint(2, 9), rng.randint(2, 9)
    if kind == "gain":
        return Worked(
            f"{person} has {a} {things}. {friend} brings {b} more. How many {things} does {person} have now?",
            f"{person} starts with {a}. {a} + {b} = {a + b}.",
            str(a + b),
        )
    if kind == "lose":
        a += b
        return Worked(
            f"{person} has {a} {things} and gives {b} to {friend}. How many {things} are left?",
            f"{person} starts with {a}. {a} - {b} = {a - b}.",
            str(a - b),
        )
    if kind == "both":
        return Worked(
            f"{person} has {a} {things} and {friend} has {b}. How many {things} do they have together?",
            f"We add them. {a} + {b} = {a + b}.",
            str(a + b),
        )
    if kind == "packs":
        b = rng.randint(2, 9)
        return Worked(
            f"{person} buys {b} packs with {c} {things} each. How many {things} does {person} buy?",
            f"There are {b} packs. {b} * {c} = {b * c}.",
            str(b * c),
        )
    a += c
    return Worked(
        f"{person} has {a} {things}, loses {c} and then finds {b}. How many {things} does {person} have?",
        f"{person} starts with {a}. {a} - {c} = {a - c}. {a - c} + {b} = {a - c + b}.",
        str(a - c + b),
    )


FINNISH = {
    "people": ["Aino", "Eero", "Helmi", "Juho", "Kaisa", "Lauri", "Minna", "Onni", "Pekka", "Sofia", "Tuomas", "Veera"],
    "places": ["Turussa", "Oulussa", "Porissa", "Vaasassa", "Kuopiossa", "Lahdessa", "Kotkassa", "Raumalla"],
    "jobs": ["opettaja", "kokki", "kuski", "puutarhuri", "muusikko", "leipuri"],
    "pets": ["koira", "kissa", "hevonen", "kani", "papukaija"],
    "sentences": "{person} asuu {place}. {person} on ammatiltaan {job}. Hänellä on {pet}. Hän syntyi vuonna {year}.",
    "questions": {
        "place": "Missä {person} asuu?",
        "job": "Mikä on {person} ammatiltaan?",
        "pet": "Mikä eläin on henkilöllä {person}?",
        "year": "Minä vuonna {person} syntyi?",
    },
}
INDONESIAN = {
    "people": ["Adi", "Budi", "Citra", "Dewi", "Eka", "Fitri", "Gilang", "Hana", "Indra", "Joko", "Lestari", "Putri"],
    "places": ["Bandung", "Medan", "Surabaya", "Malang", "Padang", "Bogor", "Solo", "Manado"],
    "jobs": ["guru", "dokter", "petani", "nelayan", "penulis", "pedagang"],
    "pets": ["kucing", "kambing", "burung", "kelinci", "ayam"],
    "sentences": "{person} tinggal di {place}. {person} bekerja sebagai {job}. "
    "Ia punya seekor {pet}. Ia lahir pada tahun {year}.",
    "questions": {
        "place": "Di mana {person} tinggal?",
        "job": "Apa pekerjaan {person}?",
        "pet": "Hewan apa yang dimiliki {person}?",
        "year": "Pada tahun berapa {person} lahir?",
    },
}
LANGUAGES: dict[str, dict[str, Any]] = {"finnish": FINNISH, "indonesian": INDONESIAN}


def passage(rng: Random, language: str) -> Passage:
    """Four sentences about somebody and a question about one of them."""
    words = LANGUAGES[language]
    facts = {
        "person": rng.choice(words["people"]),
        "place": rng.choice(words["places"]),
        "job": rng.choice(words["jobs"]),
        "pet": rng.choice(words["pets"]),
        "year": str(rng.randint(1900, 1999)),
    }
    asked = rng.choice(["place", "job", "pet", "year"])
    return Passage(words["sentences"].format(**facts), words["questions"][asked].format(**facts), facts[asked])


SIGNS = {"plus": "+", "minus": "-", "times": "*"}
OF_LISTS = {"sum": "sum", "largest": "max", "smallest": "min", "number": "len"}
OF_TEXTS = {
    "in capital letters": ("capital", "text.upper()"),
    "in small letters": ("small", "text.lower()"),
    "turned around": ("turned", "text[::-1]"),
    "twice": ("twice", "text * 2"),
}


def program(rng: Random) -> Program:
    """A function whose body is one expression, of one step or two."""
    kind = rng.choice(["number", "number", "list", "list", "text"])
    two_steps = rng.random() < 0.5
    x, y = rng.sample(range(1, 12), 2)
    if kind == "number":
        verb, number = rng.choice(list(SIGNS)), rng.randint(2, 19)
        name, does, expression = f"{verb}_{number}", f"Return x {verb} {number}.", f"x {SIGNS[verb]} {number}"
        if two_steps:
            factor, verb = rng.randint(2, 9), rng.choice(["plus", "minus"])
            name, does = f"{verb}_after_times", f"Return x times {factor} {verb} {number}."
            expression = f"x * {factor} {SIGNS[verb]} {number}"
        signature, arguments = "x: int) -> int", [str(x), str(y), str(x + y)]
    elif kind == "list":
        first, second = rng.sample(list(OF_LISTS), 2)
        verb = rng.choice(list(SIGNS))
        name, does = (
            f"{first}_{rng.choice(['of_list', 'of_numbers', 'from_list'])}",
            f"Return the {first} of the numbers.",
        )
        expression = f"{OF_LISTS[first]}(numbers)"
        if two_steps:
            name, does = f"{verb}_of_two", f"Return the {first} {verb} the {second} of the numbers."
            expression = f"{OF_LISTS[first]}(numbers) {SIGNS[verb]} {OF_LISTS[second]}(numbers)"
        signature, arguments = "numbers: list) -> int", [f"[{x}, {y}]", f"[{y}, {x}, {x + y}]", f"[{y}]"]
    else:
        does, (name, expression) = rng.choice(list(OF_TEXTS.items()))
        name, does = f"{name}_{rng.choice(['text', 'word', 'name'])}", f"Return the text {does}."
        signature, arguments = "text: str) -> str", [repr(word) for word in rng.sample(tables.PEOPLE, 3)]
    return finished(name, signature, does, expression, arguments)


def long_program(rng: Random) -> Program:
    """A function of three steps; test items only, so that a model has to go beyond its training."""
    first, second, third = rng.sample(list(OF_LISTS), 3)
    factor, number, last = (rng.randint(2, 9) for _ in range(3))
    x, y = rng.sample(range(1, 12), 2)
    if rng.random() < 0.5:
        does, expression = f"Return x times {factor} plus {number} minus {last}.", f"x * {factor} + {number} - {last}"
        return finished("three_steps", "x: int) -> int", does, expression, [str(x), str(y), str(x + y)])
    does = f"Return the {first} plus the {second} minus the {third} of the numbers."
    expression = f"{OF_LISTS[first]}(numbers) + {OF_LISTS[second]}(numbers) - {OF_LISTS[third]}(numbers)"
    arguments = [f"[{x}, {y}]", f"[{y}, {x}, {x + y}]", f"[{y}]"]
    return finished("minus_of_three", "numbers: list) -> int", does, expression, arguments)


def finished(name: str, signature: str, does: str, expression: str, arguments: list[str]) -> Program:
    """The program that returns `expression`, with the values of its calls worked out."""
    parameter = signature.split(":")[0]
    calls = tuple((argument, repr(eval(expression, {}, {parameter: eval(argument)}))) for argument in arguments)
    prompt = f'def {name}({signature}:\n    """ {does}\n    >>> {name}({calls[0][0]})\n    {calls[0][1]}\n    """\n'
    return Program(name, prompt, f"    return {expression}\n", calls)
