"""Instruction families: each makes one question with a right and a wrong answer.

`FAMILIES` maps a name to a function of a random generator that returns an `Item`; `respond` words an
answer of a given quality. The pool, the reference answers and the model's training text all come
from here, so a row of the pool looks like the training text but is never one of its rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from demo import tables

QUALITIES = ("good", "wrong", "empty", "refusing", "offtopic", "rambling")


@dataclass(frozen=True)
class Item:
    """One question: `short` and `full` are right answers, `wrong` reads well and is false."""

    instruction: str
    input: str
    short: str
    full: str
    wrong: str

    @property
    def key(self) -> str:
        """The instruction with its input on the next line, as the scoring prompt shows it."""
        return f"{self.instruction}\n{self.input}" if self.input else self.instruction


def other(rng: Random, choices: list[str], right: str) -> str:
    """A member of `choices` that is not the right one."""
    return rng.choice([choice for choice in choices if choice != right])


def article(word: str) -> str:
    """The word with "a" or "an" before it."""
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def listing(words: list[str]) -> str:
    """Words joined as in a sentence: "a, b and c"."""
    return f"{', '.join(words[:-1])} and {words[-1]}"


def add_or_subtract(rng: Random) -> tuple[str, int, int, int]:
    """A small calculation that never goes below zero: sign, two operands, result."""
    sign = rng.choice("+-*")
    a, b = (rng.randint(2, 9), rng.randint(2, 9)) if sign == "*" else (rng.randint(2, 30), rng.randint(2, 12))
    if sign == "-" and b > a:
        a, b = b, a
    return sign, a, b, {"+": a + b, "-": a - b, "*": a * b}[sign]


def arithmetic(rng: Random) -> Item:
    """Sums, differences and products of small numbers."""
    sign, a, b, result = add_or_subtract(rng)
    word = {"+": "plus", "-": "minus", "*": "times"}[sign]
    wrong = max(0, result + rng.choice([-7, -3, 3, 5, 8, 11])) or 99
    if wrong == result:
        wrong += 4
    if rng.random() < 0.3:
        instruction, given = "Work out the result.", f"{a} {sign} {b}"
    else:
        instruction = rng.choice(
            [f"What is {a} {word} {b}?", f"Calculate {a} {sign} {b}.", f"How much is {a} {word} {b}?"]
        )
        given = ""
    full = f"{a} {word} {b} is {result}."
    return Item(instruction, given, str(result), full, rng.choice([f"{a} {word} {b} is {wrong}.", str(wrong)]))


def capitals(rng: Random) -> Item:
    """Countries, their capitals and continents."""
    country = rng.choice(list(tables.CAPITALS))
    capital, continent = tables.CAPITALS[country]
    if rng.random() < 0.25:
        wrong = other(rng, sorted({place for _, place in tables.CAPITALS.values()}), continent)
        instruction = rng.choice([f"On which continent is {country}?", f"Which continent does {country} belong to?"])
        return Item(instruction, "", continent, f"{country} is in {continent}.", f"{country} is in {wrong}.")
    wrong = other(rng, [city for city, _ in tables.CAPITALS.values()], capital)
    instruction = rng.choice(
        [
            f"What is the capital of {country}?",
            f"Name the capital city of {country}.",
            f"Tell me which city is the capital of {country}.",
            f"Which city is the seat of government in {country}?",
        ]
    )
    full = f"The capital of {country} is {capital}."
    return Item(instruction, "", capital, full, f"The capital of {country} is {wrong}.")


def planets(rng: Random) -> Item:
    """What is special about each planet."""
    planet = rng.choice(list(tables.PLANETS))
    fact = tables.PLANETS[planet]
    wrong = other(rng, list(tables.PLANETS), planet)
    instruction = rng.choice(
        [f"Which planet is {fact}?", f"Name the planet that is {fact}.", f"Tell me which planet is {fact}."]
    )
    return Item(instruction, "", planet, f"{planet} is {fact}.", f"{wrong} is {fact}.")


def animals(rng: Random) -> Item:
    """Classes and young of animals."""
    animal = rng.choice(list(tables.ANIMALS))
    kind, young = tables.ANIMALS[animal]
    if rng.random() < 0.5:
        wrong = other(rng, [name for _, name in tables.ANIMALS.values()], young)
        instruction = rng.choice(
            [
                f"What is a young {animal} called?",
                f"Give the name of a baby {animal}.",
                f"Tell me the word for a young {animal}.",
            ]
        )
        return Item(
            instruction,
            "",
            article(young).capitalize(),
            f"A young {animal} is called {article(young)}.",
            f"A young {animal} is called {article(wrong)}.",
        )
    wrong = other(rng, ["mammal", "bird", "fish", "insect", "amphibian"], kind)
    instruction = rng.choice(
        [f"What kind of animal is {article(animal)}?", f"To which class of animals does the {animal} belong?"]
    )
    return Item(
        instruction, "", kind.capitalize(), f"The {animal} is {article(kind)}.", f"The {animal} is {article(wrong)}."
    )


def opposites(rng: Random) -> Item:
    """Words and their opposites, asked in both directions."""
    pairs = tables.OPPOSITES | {right: left for left, right in tables.OPPOSITES.items()}
    word = rng.choice(list(pairs))
    wrong = other(rng, [w for w in pairs if w != word], pairs[word])
    instruction = rng.choice(
        [
            f"What is the opposite of '{word}'?",
            f"Give an antonym of '{word}'.",
            f"Find a word that means the opposite of '{word}'.",
        ]
    )
    return Item(
        instruction,
        "",
        pairs[word].capitalize(),
        f"The opposite of '{word}' is '{pairs[word]}'.",
        f"The opposite of '{word}' is '{wrong}'.",
    )


def synonyms(rng: Random) -> Item:
    """Words that mean the same."""
    word = rng.choice(list(tables.SYNONYMS))
    wrong = other(rng, list(tables.SYNONYMS.values()), tables.SYNONYMS[word])
    instruction = rng.choice(
        [f"Give a synonym of '{word}'.", f"Which word means the same as '{word}'?", f"Find another word for '{word}'."]
    )
    return Item(
        instruction,
        "",
        tables.SYNONYMS[word].capitalize(),
        f"Another word for '{word}' is '{tables.SYNONYMS[word]}'.",
        f"Another word for '{word}' is '{wrong}'.",
    )


def plurals(rng: Random) -> Item:
    """Irregular plurals."""
    word = rng.choice(list(tables.PLURALS))
    wrong = rng.choice(
        [
            f"{word}s" if tables.PLURALS[word] != f"{word}s" else f"{word}en",
            other(rng, list(tables.PLURALS.values()), tables.PLURALS[word]),
        ]
    )
    instruction = rng.choice(
        [
            f"What is the plural of '{word}'?",
            f"Write '{word}' in the plural.",
            f"How do you write more than one '{word}'?",
        ]
    )
    return Item(
        instruction,
        "",
        tables.PLURALS[word].capitalize(),
        f"The plural of '{word}' is '{tables.PLURALS[word]}'.",
        f"The plural of '{word}' is '{wrong}'.",
    )


def past_tense(rng: Random) -> Item:
    """Sentences to be put into the past."""
    verb = rng.choice(list(tables.PAST))
    past, rest = tables.PAST[verb]
    person = rng.choice(["I", "We", "They", "You"])
    time = rng.choice(["", " every day", " in the morning", " on Sunday"])
    instruction = rng.choice(["Put the sentence into the past tense.", "Rewrite this sentence in the past tense."])
    wrong = rng.choice([f"{person} will {verb} {rest}{time}.", f"{person} {verb} {rest}{time}."])
    right = f"{person} {past} {rest}{time}."
    return Item(instruction, f"{person} {verb} {rest}{time}.", right, f"In the past tense: {right}", wrong)


def letters(rng: Random) -> Item:
    """Operations on strings: capitals, first letters, joining."""
    words = [rng.choice(group) for group in rng.sample(list(tables.GROUPS.values()), 2)]
    kind = rng.choice(["first", "join", "last"])
    if kind == "join":
        instruction = rng.choice(["Join the two words with a hyphen.", "Write both words with a hyphen between them."])
        right = "-".join(words)
        return Item(
            instruction, " ".join(words), right, f"The joined word is {right}.", "-".join([words[1], words[0][::-1]])
        )
    word = rng.choice([rng.choice(group) for group in tables.GROUPS.values()])
    place, letter = ("first", word[0]) if kind == "first" else ("last", word[-1])
    instruction = rng.choice(
        [f"What is the {place} letter of '{word}'?", f"Which letter is {place} in the word '{word}'?"]
    )
    wrong = other(rng, list("abdeghklmnoprst"), letter)
    return Item(
        instruction,
        "",
        letter,
        f"The {place} letter of '{word}' is '{letter}'.",
        f"The {place} letter of '{word}' is '{wrong}'.",
    )


def comparing(rng: Random) -> Item:
    """Yes-or-no questions about numbers and animals."""
    if rng.random() < 0.5:
        a, b = rng.sample(range(2, 100), 2)
        truth = a > b
        reason = f"{a} is {'greater' if truth else 'smaller'} than {b}."
        instruction = rng.choice([f"Is {a} greater than {b}?", f"Is it true that {a} is greater than {b}?"])
        denial = f"{a} is {'smaller' if truth else 'greater'} than {b}."
    else:
        animal = rng.choice(list(tables.ANIMALS))
        kind = tables.ANIMALS[animal][0]
        claimed = rng.choice([kind, rng.choice(["bird", "fish", "insect", "mammal"])])
        truth = claimed == kind
        reason = f"The {animal} is {article(kind)}."
        instruction = rng.choice(
            [f"Is {article(animal)} {article(claimed)}?", f"Is it true that {article(animal)} is {article(claimed)}?"]
        )
        denial = f"The {animal} is {'not ' if truth else ''}{article(claimed)}."
    yes, no = ("Yes", "No") if truth else ("No", "Yes")
    return Item(instruction, "", f"{yes}.", f"{yes}. {reason}", f"{no}. {denial}")


def counting(rng: Random) -> Item:
    """How many things a list holds."""
    words = rng.sample(tables.GROUPS[rng.choice(list(tables.GROUPS))], rng.randint(2, 7))
    instruction = rng.choice(["How many items are in this list?", "Count the words in the list."])
    wrong = len(words) + rng.choice([-1, 2, 3])
    return Item(
        instruction,
        ", ".join(words),
        str(len(words)),
        f"There are {len(words)} items in the list.",
        f"There are {wrong} items in the list.",
    )


def sorting(rng: Random) -> Item:
    """Numbers in ascending order, words by the alphabet."""
    if rng.random() < 0.5:
        numbers = rng.sample(range(1, 60), rng.randint(3, 4))
        instruction = rng.choice(["Sort the numbers from small to large.", "Put these numbers in ascending order."])
        given, ordered = [str(n) for n in numbers], [str(n) for n in sorted(numbers)]
    else:
        given = rng.sample(tables.GROUPS[rng.choice(list(tables.GROUPS))], 3)
        ordered = sorted(given)
        instruction = rng.choice(["Sort the words alphabetically.", "Put these words in alphabetical order."])
    wrong = ordered[1:] + ordered[:1]
    return Item(instruction, ", ".join(given), ", ".join(ordered), f"In order: {', '.join(ordered)}.", ", ".join(wrong))


def naming(rng: Random) -> Item:
    """Lists of fruits, tools, instruments and the like."""
    group = rng.choice(list(tables.GROUPS))
    number = rng.choice([2, 3, 4])
    count = {2: "two", 3: "three", 4: "four"}[number]
    chosen = rng.sample(tables.GROUPS[group], number)
    bad = rng.sample(tables.GROUPS[other(rng, list(tables.GROUPS), group)], number)
    instruction = rng.choice(
        [f"Name {count} {group}s.", f"List {count} examples of a {group}.", f"Give me {count} {group}s."]
    )
    return Item(
        instruction,
        "",
        ", ".join(chosen),
        f"{count.capitalize()} {group}s are {listing(chosen)}.",
        f"{count.capitalize()} {group}s are {listing(bad)}.",
    )


def odd_one_out(rng: Random) -> Item:
    """The word that does not belong."""
    group, stranger_group = rng.sample(list(tables.GROUPS), 2)
    stranger = rng.choice(tables.GROUPS[stranger_group])
    members = rng.sample(tables.GROUPS[group], 3)
    words = [*members, stranger]
    rng.shuffle(words)
    instruction = rng.choice(["Which word does not belong?", "Find the odd one out."])
    return Item(
        instruction,
        ", ".join(words),
        stranger.capitalize(),
        f"The odd one out is {stranger}. The others are {group}s.",
        f"The odd one out is {members[0]}.",
    )


def categories(rng: Random) -> Item:
    """What kind of thing a word names."""
    group = rng.choice(list(tables.GROUPS))
    word = rng.choice(tables.GROUPS[group])
    wrong = other(rng, list(tables.GROUPS), group)
    instruction = rng.choice(
        [f"What kind of thing is '{word}'?", f"Say what '{word}' is in one sentence.", f"Classify the word '{word}'."]
    )
    return Item(
        instruction,
        "",
        article(group).capitalize(),
        f"The word '{word}' names {article(group)}.",
        f"The word '{word}' names {article(wrong)}.",
    )


def units(rng: Random) -> Item:
    """Conversions between units."""
    large, small = rng.choice(list(tables.UNITS))
    factor = tables.UNITS[large, small]
    number = rng.randint(2, 9)
    right = number * factor
    wrong = rng.choice([number + factor, right + factor, number * 10 + 5])
    wrong = right + 1 if wrong == right else wrong
    instruction = rng.choice([f"How many {small} are in {number} {large}?", f"Convert {number} {large} to {small}."])
    return Item(
        instruction,
        "",
        f"{right} {small}",
        f"{number} {large} are {right} {small}.",
        f"{number} {large} are {wrong} {small}.",
    )


def definitions(rng: Random) -> Item:
    """Short definitions of nouns."""
    word = rng.choice(list(tables.DEFINITIONS))
    meaning = tables.DEFINITIONS[word]
    wrong = other(rng, list(tables.DEFINITIONS.values()), meaning)
    instruction = rng.choice(
        [
            f"What is {article(word)}?",
            f"Define the word '{word}'.",
            f"Explain what {article(word)} is.",
            f"What does '{word}' mean?",
        ]
    )
    return Item(
        instruction,
        "",
        f"{meaning[0].upper()}{meaning[1:]}.",
        f"{article(word).capitalize()} is {meaning}.",
        f"{article(word).capitalize()} is {wrong}.",
    )


def reasons(rng: Random) -> Item:
    """Why things are as they are."""
    claim = rng.choice(list(tables.REASONS))
    because = tables.REASONS[claim]
    wrong = other(rng, list(tables.REASONS.values()), because)
    instruction = rng.choice(
        [f"Explain why {claim}.", f"Give the reason why {claim}.", f"Say in one sentence why {claim}."]
    )
    opening = claim[0].upper() + claim[1:]
    return Item(instruction, "", f"Because {because}.", f"{opening} because {because}.", f"{opening} because {wrong}.")


def advice(rng: Random) -> Item:
    """Tips for everyday aims, as a short list."""
    aim = rng.choice(list(tables.TIPS))
    number = rng.choice([2, 3])
    count = {2: "two", 3: "three"}[number]
    tips = rng.sample(tables.TIPS[aim], number)
    wrong = rng.sample(tables.TIPS[other(rng, list(tables.TIPS), aim)], number)
    instruction = rng.choice(
        [
            f"Give me {count} tips for {aim}.",
            f"List {count} pieces of advice for {aim}.",
            f"I need help with {aim}. Name {count} things to do.",
        ]
    )

    def numbered(lines: list[str]) -> str:
        return "\n".join(f"{place}. {line[0].upper()}{line[1:]}." for place, line in enumerate(lines, 1))

    return Item(instruction, "", listing(tips).capitalize() + ".", numbered(tips), numbered(wrong))


def thanks(rng: Random) -> Item:
    """Short letters of thanks."""
    friend, writer = rng.sample(tables.PEOPLE, 2)
    favour = rng.choice(list(tables.FAVOURS))
    wrong = other(rng, list(tables.FAVOURS), favour)
    instruction = rng.choice(
        [
            f"Write a short note from {writer} to thank {friend} for {favour}.",
            f"Write a thank-you letter to {friend} for {favour}. Sign it {writer}.",
        ]
    )
    return Item(
        instruction,
        "",
        f"Dear {friend}, thank you for {favour}. {writer}",
        f"Dear {friend},\nThank you very much for {favour}. {tables.FAVOURS[favour]}\nBest wishes,\n{writer}",
        f"Dear {writer},\nThank you very much for {wrong}. {tables.FAVOURS[wrong]}",
    )


def sentiment(rng: Random) -> Item:
    """Whether a review praises or blames."""
    good = rng.random() < 0.5
    review = ". ".join(rng.sample(tables.PRAISE if good else tables.BLAME, 2)) + "."
    label, wrong = ("positive", "negative") if good else ("negative", "positive")
    instruction = rng.choice(
        ["Is this review positive or negative?", "Decide whether the review is positive or negative."]
    )
    return Item(instruction, review, label.capitalize(), f"The review is {label}.", f"The review is {wrong}.")


def python(rng: Random) -> Item:
    """One-line Python functions."""
    task = rng.choice(list(tables.PYTHON))
    name, parameters, expression = tables.PYTHON[task]
    _, wrong_parameters, wrong_expression = tables.PYTHON[other(rng, list(tables.PYTHON), task)]
    instruction = rng.choice(
        [
            f"Write a Python function that returns {task}.",
            f"Show me Python code that returns {task}.",
            f"Define a Python function called {name} that returns {task}.",
        ]
    )
    code = f"def {name}({parameters}):\n    return {expression}"
    return Item(
        instruction,
        "",
        code,
        f"This function returns {task}:\n{code}",
        f"def {name}({wrong_parameters}):\n    return {wrong_expression}",
    )


FAMILIES: dict[str, Callable[[Random], Item]] = {
    family.__name__: family
    for family in (
        arithmetic,
        capitals,
        planets,
        animals,
        opposites,
        synonyms,
        plurals,
        past_tense,
        letters,
        comparing,
        counting,
        sorting,
        naming,
        odd_one_out,
        categories,
        units,
        definitions,
        reasons,
        advice,
        thanks,
        sentiment,
        python,
    )
}

EMPTY = ["...", "N/A", "None.", "-", "Answer:", "No answer.", "TODO", "?"]
REFUSALS = [
    "I don't know.",
    "I am not sure about that.",
    "Sorry, I cannot help with this.",
    "As a program I have no opinion on that.",
    "I am unable to answer this question.",
]
CLOSINGS = [
    "I hope that this helps.",
    "Let me know if you would like to hear more.",
    "You can look it up in any good book on the subject.",
]
FILLER = [
    "That is a very interesting question.",
    "There are many things to say about it.",
    "Some people say one thing and some people say another.",
    "It depends on how you look at it.",
    "My uncle once told me a long story about this.",
    "I will come back to the point in a moment.",
    "As I said before, it is not so simple.",
    "Anyway, the weather was nice last week.",
    "Many books have been written about it.",
    "And so on and so on.",
    "First of all we should think about what words mean.",
    "In the end everybody has to decide alone.",
]


def respond(item: Item, quality: str, rng: Random) -> str:
    """Word an answer to `item` of one of the QUALITIES.

    A good answer is short, full, or full with a closing remark; a rambling one is long and may or
    may not hold the answer somewhere inside.
    """
    if quality == "good":
        return rng.choice([item.short, item.full, item.full, item.full, f"{item.full}\n{rng.choice(CLOSINGS)}"])
    if quality == "wrong":
        return rng.choice([item.wrong, item.wrong, item.wrong, f"{item.wrong}\n{rng.choice(CLOSINGS)}"])
    if quality == "empty":
        return rng.choice(EMPTY)
    if quality == "refusing":
        return rng.choice(REFUSALS)
    if quality == "offtopic":
        stranger = FAMILIES[rng.choice(list(FAMILIES))](rng)
        while stranger.full == item.full or stranger.instruction == item.instruction:
            stranger = FAMILIES[rng.choice(list(FAMILIES))](rng)
        return stranger.full
    if quality == "rambling":
        sentences = rng.sample(FILLER, rng.randint(4, 8))
        if rng.random() < 0.3:
            sentences.insert(rng.randint(1, len(sentences)), item.short.rstrip("."))
        return " ".join(sentences)
    raise ValueError(f"unknown quality {quality!r}: expected one of {', '.join(QUALITIES)}")
