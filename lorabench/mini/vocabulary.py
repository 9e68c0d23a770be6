"""The words of the miniature world: what a picture can show, and what captions and prompts call it."""

from __future__ import annotations

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")

PEOPLE = ("girl", "boy", "woman", "man")
TOYS = ("bunny", "bear", "penguin")
ANIMALS = ("cat", "dog")
BUILDINGS = ("house", "castle")
SUBJECTS = (*PEOPLE, "robot", *TOYS, *ANIMALS, *BUILDINGS, "car")

# scene -> (the phrase of a sentence, the tag)
SCENES = {
    "beach": ("on the beach", "beach"),
    "forest": ("in the forest", "forest"),
    "city": ("in the city", "city"),
    "snow": ("in the snow", "snow"),
    "desert": ("in the desert", "desert"),
    "meadow": ("in the meadow", "meadow"),
    "night": ("at night", "night"),
    "space": ("in space", "space"),
    "sunset": ("at sunset", "sunset"),
    "room": ("in a room", "room"),
    "plain": ("on a plain background", "simple background"),
}

# accessory -> the phrase after the subject
ACCESSORIES = {
    "hat": "wearing a hat",
    "sunglasses": "wearing sunglasses",
    "scarf": "wearing a scarf",
    "headphones": "wearing headphones",
    "balloon": "holding a balloon",
    "umbrella": "holding an umbrella",
}

POSES = ("standing", "waving", "cheering")

# style -> (the phrase of a sentence, the tag)
STYLES = {
    "pencil": ("pencil drawing", "monochrome"),
    "watercolor": ("watercolor painting", "soft colors"),
    "pixel": ("pixel art", "big pixels"),
    "woodcut": ("woodcut print", "two colors"),
    "sepia": ("sepia photograph", "old photo"),
}

HAIR_STYLES = {
    "short": "short hair",
    "bob": "bob hair",
    "long": "long hair",
    "ponytail": "ponytail",
    "twin": "twin tails",
    "bun": "hair bun",
}
HAIR_COLORS = ("black", "brown", "blond", "red", "gray")

# What a caption may call a subject: the first is the plain word, the others are class words of data sets.
NAMES = {
    "girl": ("girl", "anime girl"),
    "boy": ("boy", "anime boy"),
    "woman": ("woman", "person"),
    "man": ("man", "person"),
    "robot": ("robot", "toy robot"),
    "bunny": ("bunny", "stuffed toy bunny"),
    "bear": ("bear", "stuffed toy bear"),
    "penguin": ("penguin", "stuffed toy penguin"),
    "cat": ("cat", "animal"),
    "dog": ("dog", "animal"),
    "house": ("house", "building"),
    "castle": ("castle", "building"),
    "car": ("car", "toy car"),
}

# Words that carry a sentence, and words that only prompts of adapters use.
GLUE = (
    "a an the of in on at with and wearing holding style picture photo image scene scenery landscape no people "
    "dress shirt clothes hair facing left right outdoors indoors simple background art drawing painting this is "
    "stuffed toy toys anime movie character person animal building figurine realistic outfit uniform kimono "
    "front big small standing sitting view to by"
).split()

# Never used in pretraining: the inner words of trigger tokens such as [V_mika].
TRIGGER_WORDS = (
    "mika rin haru yuki zorp bolt corsair valk lobster panda drago octo cascade palace lighthouse volcano "
    "neon blueprint infrared riso sailor festival casual figure real kite luma nori pico quill rook sage tavi "
    "umber vesper wren xeno yara zeph argo birch cinder delta ember fjord gale halo iris jade koi"
).split()

TRIGGER_OPEN, TRIGGER_CLOSE = "[V_", "]"


def caption_words() -> list[str]:
    """Every word that captions and prompts use, sorted; triggers not among them."""
    phrases: list[str] = [*COLORS, *SUBJECTS, *POSES, *HAIR_COLORS, *HAIR_STYLES.values(), *ACCESSORIES, *GLUE]
    phrases += [*ACCESSORIES.values()]
    for pair in (*SCENES.values(), *STYLES.values(), *NAMES.values()):
        phrases += pair
    return sorted({word for phrase in phrases for word in phrase.split()})
