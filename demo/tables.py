"""The small world of the demonstration: facts and word lists, all written for this project.

Every family of the pool, every miniature benchmark and the training text of the demonstration
model draw on these tables, so that a model of two million parameters can know them.
"""

CAPITALS = {  # country: (capital, continent)
    "France": ("Paris", "Europe"),
    "Spain": ("Madrid", "Europe"),
    "Italy": ("Rome", "Europe"),
    "Greece": ("Athens", "Europe"),
    "Norway": ("Oslo", "Europe"),
    "Sweden": ("Stockholm", "Europe"),
    "Finland": ("Helsinki", "Europe"),
    "Poland": ("Warsaw", "Europe"),
    "Austria": ("Vienna", "Europe"),
    "Hungary": ("Budapest", "Europe"),
    "Portugal": ("Lisbon", "Europe"),
    "Ireland": ("Dublin", "Europe"),
    "Japan": ("Tokyo", "Asia"),
    "China": ("Beijing", "Asia"),
    "Thailand": ("Bangkok", "Asia"),
    "Vietnam": ("Hanoi", "Asia"),
    "Nepal": ("Kathmandu", "Asia"),
    "Iran": ("Tehran", "Asia"),
    "Iraq": ("Baghdad", "Asia"),
    "Indonesia": ("Jakarta", "Asia"),
    "Egypt": ("Cairo", "Africa"),
    "Kenya": ("Nairobi", "Africa"),
    "Ghana": ("Accra", "Africa"),
    "Senegal": ("Dakar", "Africa"),
    "Morocco": ("Rabat", "Africa"),
    "Algeria": ("Algiers", "Africa"),
    "Peru": ("Lima", "South America"),
    "Chile": ("Santiago", "South America"),
    "Ecuador": ("Quito", "South America"),
    "Colombia": ("Bogota", "South America"),
    "Cuba": ("Havana", "North America"),
    "Canada": ("Ottawa", "North America"),
}

PLANETS = {  # planet: what is true of it alone in this table
    "Mercury": "closest to the Sun",
    "Venus": "the hottest planet",
    "Earth": "home to oceans and people",
    "Mars": "known as the red planet",
    "Jupiter": "the largest planet",
    "Saturn": "famous for its bright rings",
    "Uranus": "tilted on its side",
    "Neptune": "farthest from the Sun",
}

ANIMALS = {  # animal: (class, young)
    "dog": ("mammal", "puppy"),
    "cat": ("mammal", "kitten"),
    "cow": ("mammal", "calf"),
    "horse": ("mammal", "foal"),
    "sheep": ("mammal", "lamb"),
    "pig": ("mammal", "piglet"),
    "goat": ("mammal", "kid"),
    "lion": ("mammal", "cub"),
    "deer": ("mammal", "fawn"),
    "duck": ("bird", "duckling"),
    "hen": ("bird", "chick"),
    "goose": ("bird", "gosling"),
    "swan": ("bird", "cygnet"),
    "eagle": ("bird", "eaglet"),
    "frog": ("amphibian", "tadpole"),
    "salmon": ("fish", "fry"),
    "butterfly": ("insect", "caterpillar"),
    "bee": ("insect", "larva"),
}

OPPOSITES = {
    "hot": "cold",
    "big": "small",
    "fast": "slow",
    "happy": "sad",
    "light": "dark",
    "early": "late",
    "high": "low",
    "open": "closed",
    "full": "empty",
    "hard": "soft",
    "young": "old",
    "rich": "poor",
    "clean": "dirty",
    "strong": "weak",
    "near": "far",
    "wet": "dry",
    "loud": "quiet",
    "thick": "thin",
    "brave": "afraid",
    "sweet": "sour",
}

SYNONYMS = {
    "quick": "rapid",
    "glad": "pleased",
    "large": "huge",
    "tiny": "little",
    "clever": "smart",
    "begin": "start",
    "finish": "end",
    "answer": "reply",
    "gift": "present",
    "sick": "ill",
    "calm": "peaceful",
    "angry": "furious",
    "tired": "weary",
    "error": "mistake",
    "help": "assist",
    "choose": "select",
    "shout": "yell",
    "street": "road",
}

PLURALS = {
    "mouse": "mice",
    "child": "children",
    "foot": "feet",
    "tooth": "teeth",
    "leaf": "leaves",
    "city": "cities",
    "box": "boxes",
    "knife": "knives",
    "man": "men",
    "bus": "buses",
    "baby": "babies",
    "wolf": "wolves",
    "dish": "dishes",
    "story": "stories",
}

PAST = {  # verb: (past, rest of a sentence)
    "walk": ("walked", "to school"),
    "eat": ("ate", "an apple"),
    "write": ("wrote", "a letter"),
    "see": ("saw", "a bird"),
    "buy": ("bought", "some bread"),
    "drink": ("drank", "cold water"),
    "sing": ("sang", "a song"),
    "make": ("made", "a cake"),
    "take": ("took", "the train"),
    "read": ("read", "a book"),
    "go": ("went", "to the market"),
    "find": ("found", "a coin"),
    "run": ("ran", "in the park"),
    "give": ("gave", "her a flower"),
}

GROUPS = {
    "fruit": ["apple", "banana", "cherry", "grape", "lemon", "mango", "melon", "peach", "pear", "plum"],
    "vegetable": ["bean", "cabbage", "carrot", "leek", "onion", "pea", "potato", "radish", "spinach", "turnip"],
    "tool": ["axe", "chisel", "drill", "file", "hammer", "pliers", "rake", "saw", "shovel", "wrench"],
    "instrument": ["cello", "clarinet", "drum", "flute", "guitar", "harp", "piano", "trumpet", "tuba", "violin"],
    "colour": ["black", "blue", "brown", "green", "grey", "pink", "purple", "red", "white", "yellow"],
    "garment": ["belt", "coat", "glove", "hat", "jacket", "scarf", "shirt", "skirt", "sock", "sweater"],
}

UNITS = {  # (large unit, small unit): how many small ones make one large one
    ("hours", "minutes"): 60,
    ("days", "hours"): 24,
    ("weeks", "days"): 7,
    ("years", "months"): 12,
    ("metres", "centimetres"): 100,
    ("kilograms", "grams"): 1000,
    ("minutes", "seconds"): 60,
    ("dozens", "eggs"): 12,
}

DEFINITIONS = {
    "island": "a piece of land with water all around it",
    "desert": "a very dry region where little rain falls",
    "volcano": "a mountain that can throw out melted rock",
    "library": "a place where people read and borrow books",
    "bakery": "a shop where bread and cakes are made and sold",
    "bridge": "a structure that carries a road over a river or valley",
    "compass": "a tool with a needle that always points north",
    "recipe": "a set of steps for cooking a dish",
    "telescope": "an instrument that makes distant things look closer",
    "harvest": "the time when ripe crops are gathered",
    "glacier": "a great mass of ice that moves slowly over land",
    "budget": "a plan for how money will be spent",
    "orchestra": "a large group of musicians who play together",
    "orchard": "a field where fruit trees are grown",
    "drought": "a long time without enough rain",
    "museum": "a building where old or beautiful things are shown",
    "harbour": "a sheltered place where ships can stay",
    "calendar": "a table that shows the days and months of a year",
}

REASONS = {  # why ...: because ...
    "leaves are green": "they hold chlorophyll, which soaks up sunlight and reflects green light",
    "ice floats on water": "ice is less dense than liquid water",
    "we have day and night": "the Earth turns around once every day",
    "people wear coats in winter": "thick cloth keeps the warm air close to the body",
    "bread rises in the oven": "yeast makes small bubbles of gas that grow in the heat",
    "we see lightning before thunder": "light travels much faster than sound",
    "plants need water": "water carries food from the soil to the leaves",
    "metal spoons get hot in soup": "metal conducts heat very well",
    "birds fly south in autumn": "food is easier to find where it stays warm",
    "the sea is salty": "rivers carry small amounts of salt from rocks into it",
    "we sleep at night": "the body and the brain need time to rest and repair",
    "shadows are long in the evening": "the sun stands low and its light comes from the side",
}

TIPS = {
    "sleeping better": [
        "go to bed at the same hour",
        "keep the bedroom dark",
        "avoid coffee after noon",
        "put the phone away early",
    ],
    "saving money": [
        "write down what you spend",
        "cook at home more often",
        "buy only what is on your list",
        "put a little aside each week",
    ],
    "learning a language": [
        "practise for ten minutes a day",
        "listen to songs and stories",
        "speak with other learners",
        "write new words on cards",
    ],
    "staying healthy": ["eat plenty of vegetables", "take a walk every day", "drink enough water", "sleep eight hours"],
    "keeping a room tidy": [
        "put things back after use",
        "make the bed each morning",
        "give away what you do not need",
        "empty the bin often",
    ],
    "preparing for an exam": [
        "make a plan for each day",
        "solve old papers",
        "explain the topic to a friend",
        "rest well the night before",
    ],
    "growing tomatoes": [
        "choose a sunny place",
        "water the soil and not the leaves",
        "tie the stems to a stick",
        "pick the fruit when it is red",
    ],
    "writing clearly": [
        "use short sentences",
        "put the main point first",
        "remove words you do not need",
        "read the text aloud",
    ],
    "riding a bicycle safely": [
        "wear a helmet",
        "check the brakes first",
        "use lights in the dark",
        "look behind before turning",
    ],
    "making friends": ["ask people about themselves", "join a club", "listen with care", "be kind and patient"],
}

FAVOURS = {  # what somebody is thanked for: one more sentence
    "the book": "I read it in one evening.",
    "the dinner": "The soup was wonderful.",
    "the flowers": "They stand on my kitchen table.",
    "the help with moving": "I could not have done it alone.",
    "the birthday cake": "Everybody wanted a second piece.",
    "the concert ticket": "It was a lovely evening.",
    "the ride home": "You saved me a long walk.",
    "the warm scarf": "I wear it every day.",
}

PEOPLE = [
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Hugo",
    "Ida",
    "Jonas",
    "Karin",
    "Leo",
    "Maria",
    "Nils",
    "Olga",
    "Paul",
    "Rosa",
    "Sam",
    "Tina",
    "Victor",
]

PRAISE = [
    "The food was delicious",
    "The staff were friendly",
    "The room was clean and bright",
    "I loved every minute",
    "The story made me smile",
    "It works perfectly",
]
BLAME = [
    "The food was cold",
    "The staff were rude",
    "The room was dirty and dark",
    "I was bored to tears",
    "The story made no sense",
    "It broke after one day",
]

PYTHON = {  # what the function does: (name, parameters, expression)
    "the sum of two numbers": ("add", "a, b", "a + b"),
    "the product of two numbers": ("multiply", "a, b", "a * b"),
    "the difference of two numbers": ("subtract", "a, b", "a - b"),
    "the square of a number": ("square", "x", "x * x"),
    "the double of a number": ("double", "x", "2 * x"),
    "the length of a list": ("count_items", "items", "len(items)"),
    "the largest item of a list": ("largest", "items", "max(items)"),
    "the smallest item of a list": ("smallest", "items", "min(items)"),
    "the sum of a list": ("total", "items", "sum(items)"),
    "the first item of a list": ("first", "items", "items[0]"),
    "the last item of a list": ("last", "items", "items[-1]"),
    "a string in capital letters": ("shout", "text", "text.upper()"),
    "a string in small letters": ("whisper", "text", "text.lower()"),
    "a string turned around": ("turn", "text", "text[::-1]"),
    "a sorted copy of a list": ("in_order", "items", "sorted(items)"),
    "whether a number is even": ("is_even", "x", "x % 2 == 0"),
}

SPORTS = {  # sport: (players, things they do)
    "soccer": (
        ["goalkeeper", "sweeper", "winger"],
        ["scored from a corner kick", "was shown a red card", "headed the ball into the net"],
    ),
    "baseball": (
        ["pitcher", "catcher", "shortstop"],
        ["hit a home run", "stole second base", "struck out three batters"],
    ),
    "basketball": (
        ["point guard", "small forward", "power forward"],
        ["made a slam dunk", "sank a free throw", "grabbed a rebound"],
    ),
    "ice hockey": (
        ["goaltender", "wing forward", "puck carrier"],
        ["shot the puck", "was sent to the penalty box", "won the face-off"],
    ),
    "tennis": (
        ["doubles player", "baseline player", "serve specialist"],
        ["served an ace", "won the tiebreak", "returned the serve"],
    ),
    "swimming": (
        ["backstroker", "butterfly racer", "freestyle racer"],
        ["swam four lengths", "turned at the wall", "dived from the block"],
    ),
}
