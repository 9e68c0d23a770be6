"""Category, class and sub-class of a concept, and what follows from the category: templates, texts for alignment."""

from __future__ import annotations

from pathlib import PurePosixPath

# Of the paper's categories (LyCORIS D.3), used only where no dataset.toml says otherwise: the template of `alter`
# prompts, and what stands for the trigger in the text for alignment; "{}" is the class name.
_TEMPLATES = {
    "anime_characters": "characters",
    "movie_characters": "characters",
    "stuffed_toys": "stuffed_toys",
    "scenes": "scenes",
    "styles": "styles",
}
_SCENES = ("canal", "castle", "garden", "sculpture", "waterfall")  # classes with a template of their own
_ALIGNMENT: dict[str, str | None] = {"stuffed_toys": "{}", "scenes": "{}", "styles": ""}
ANY_TEMPLATE = "anything"  # says nothing of what the concept is


def place_of(path: PurePosixPath, name: str) -> tuple[str, str, str]:
    """Category, class and sub-class of a concept's folder in the data set of that name.

    A folder that is one concept, or a class without a category, is grouped under the data set's name.
    """
    parts = path.parts or (name,)
    category, class_name, subclass = (*((name, *parts) if len(parts) == 1 else parts), "")[:3]
    return category, class_name, subclass


def usual_templates(category: str, class_name: str) -> tuple[str, ...]:
    """Templates for the `alter` prompts of a concept whose data set names none, the best first, for any category.

    A scene of the paper has one of its class; the others are for the category, and for anything at all.
    """
    usual = (_TEMPLATES[category],) if category in _TEMPLATES else ()
    of_class = (class_name,) if category == "scenes" and class_name in _SCENES else ()
    return tuple(dict.fromkeys((*of_class, *usual, ANY_TEMPLATE)))


def usual_alignment(category: str, class_name: str, class_word: str) -> str | None:
    """What stands for the descriptor in the text for alignment where a data set does not say; None = the class word.

    Of scenes and toys the class name takes the trigger's place, and the class word stays: "castle scene" (LyCORIS D.4).
    """
    text = _ALIGNMENT.get(category)
    if not text:
        return text
    named = text.format(class_name)
    return class_word if named in class_word else f"{named} {class_word}".strip()
