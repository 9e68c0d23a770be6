"""Pictures that were drawn elsewhere: which prompt and which noise seed each says it was drawn with.

Read are `prompts.jsonl` in the folder, a text file beside the picture, and what the programs that people draw with
write into the picture itself: AUTOMATIC1111 and its kin, ComfyUI's graph, InvokeAI's record.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from lorabench import images, untrusted
from lorabench.errors import UserError
from lorabench.records import PromptType

PROMPTS_FILE = "prompts.jsonl"
LONGEST_PROMPT = 100_000  # characters; a graph may nest its own output
SEEDS = 2**64  # ComfyUI draws them from all of it
_FURTHEST = 1_000  # nodes of a graph that are walked


@dataclass(frozen=True)
class Drawn:
    """A picture, and what is known of how it was drawn; "" and None where nothing is."""

    path: Path
    prompt: str = ""
    seed: int | None = None
    said_by: str = ""
    concept: str = ""  # the id of one, where `prompts.jsonl` says it
    type: PromptType | None = None


class _Line(untrusted.FileRecord):
    """A line of `prompts.jsonl`."""

    file_name: str = Field(min_length=1)
    prompt: str = Field(max_length=LONGEST_PROMPT)
    seed: int | None = Field(None, ge=0, lt=SEEDS)
    concept: str = ""
    type: PromptType | None = None


Listed = Path | Mapping[str, str]


def drawn_pictures(folder: Path, pictures: Sequence[Path], prompts: Listed | None = None) -> list[Drawn]:
    """Pictures below a folder with their prompts: as listed, else from the text beside, else from the picture itself.

    Lists are `prompts`, a file or a mapping from paths in the folder, else any `prompts.jsonl` in a folder that
    pictures lie in or below. UserError for a list that is broken, or names a picture that is not there, or one twice.
    """
    known, listed = set(pictures), dict[Path, Drawn]()
    if isinstance(prompts, Mapping):
        for name, text in prompts.items():
            _list(_Line(file_name=name, prompt=text), folder, known, listed, "prompts", f"prompts['{name}']")
    elif prompts is not None:
        _read_list(prompts, folder, known, listed)
    else:
        folders = {parent for path in pictures for parent in path.parents if parent.is_relative_to(folder)}
        for file in (each / PROMPTS_FILE for each in sorted(folders)):
            if file.is_file():
                _read_list(file, file.parent, known, listed)
    return [listed[path] if path in listed else _beside(path) or _inside(path) for path in pictures]


def plain_text(prompt: str) -> str:
    """A prompt as one would say it: without tags of networks, weights of attention and separators of chunks.

    Square brackets stay, though AUTOMATIC1111 reads them as weights: trigger words have them.
    """
    text = _NETWORK.sub(" ", prompt)
    text = _SEPARATOR.sub(", ", text)
    text = text.replace(r"\(", "\0").replace(r"\)", "\1")
    while text != (text := _WEIGHTED.sub(r"\1", text)):
        pass
    text = " ".join(text.replace("\0", "(").replace("\1", ")").split())
    return re.sub(r"\s*,(\s*,)*", ",", text).strip(" ,")


_NETWORK = re.compile(r"<(lora|lyco|hypernet|embedding)s?:[^<>]*>", re.I)
_SEPARATOR = re.compile(r"\s*\b(BREAK|AND)\b\s*")
_WEIGHTED = re.compile(r"\(([^()]*?)(?::\s*[-+]?\d*\.?\d+\s*)?\)")


# --- files beside -----------------------------------------------------------------------------------------------------


def _read_list(file: Path, folder: Path, known: set[Path], found: dict[Path, Drawn]) -> None:
    """What a list says of known pictures in a folder, into `found`."""
    for number, text in enumerate(file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        if not text.strip():
            continue
        place = f"{file}, line {number}"
        _list(untrusted.parsed(text, _Line, place), folder, known, found, file.name, place)


def _list(line: _Line, folder: Path, known: set[Path], found: dict[Path, Drawn], said_by: str, place: str) -> None:
    path = folder / line.file_name
    if path not in known:
        raise UserError(f"{place}: there is no picture {line.file_name} in {folder}.")
    if path in found:
        raise UserError(f"{place}: {line.file_name} has a line already.")
    found[path] = Drawn(path, line.prompt, line.seed, said_by, line.concept, line.type)


def _beside(path: Path) -> Drawn | None:
    """What a text file of the same name says: a prompt, or all that AUTOMATIC1111 writes there."""
    file = path.with_suffix(".txt")
    if not file.is_file():
        return None
    words = file.read_bytes()[: 4 * LONGEST_PROMPT].decode("utf-8-sig", "replace").strip()
    prompt, seed = _parameters(words)
    return Drawn(path, prompt, seed, file.name) if words else None


# --- the picture itself -----------------------------------------------------------------------------------------------


def _inside(path: Path) -> Drawn:
    texts = images.texts(path)
    for name, program, read in _PROGRAMS:
        if name in texts:
            found = read(texts[name])
            if found:
                return Drawn(path, *found, program)
    return Drawn(path)


def _parameters(text: str) -> tuple[str, int | None]:
    """Prompt and seed of AUTOMATIC1111's parameters: prompt, negative prompt, then one line of settings."""
    lines = text.split("\n")
    settings = next((place for place in reversed(range(len(lines))) if _SETTINGS.search(lines[place])), len(lines))
    seed = _SEED.search(lines[settings]) if settings < len(lines) else None
    before = "\n".join(lines[:settings])
    prompt = re.split(r"(?:^|\n)Negative prompt:", before, maxsplit=1)[0]
    return prompt.strip()[:LONGEST_PROMPT], int(seed[1]) if seed else None


_SETTINGS = re.compile(r"(^|, )Steps: \d+(,|$)")
_SEED = re.compile(r"(?:^|, )Seed: (\d{1,19})(?:,|$)")


def _a1111(text: str) -> tuple[str, int | None] | None:
    prompt, seed = _parameters(text)
    return (prompt, seed) if prompt or seed is not None else None


def _invokeai(text: str) -> tuple[str, int | None] | None:
    record = _json(text)
    if not isinstance(record, dict):
        return None
    prompt, seed = record.get("positive_prompt"), record.get("seed")
    return (prompt[:LONGEST_PROMPT], _whole(seed)) if isinstance(prompt, str) and prompt else None


def _comfyui(text: str) -> tuple[str, int | None] | None:
    """Prompt and seed of the graph that drew a picture, from its output upwards.

    Nodes are many people's, so they are known by what they take: what has `positive` or a guider's `conditioning` is
    followed to the texts that it comes from, and the first seed on the way is the one.
    """
    graph = _json(text)
    if not isinstance(graph, dict):
        return None
    nodes = {str(name): node["inputs"] for name, node in graph.items() if _has_inputs(node)}
    feeding = {link for inputs in nodes.values() for link in _links(inputs).values()}
    outputs = [name for name in nodes if name not in feeding] or list(nodes)
    ways = [name for start in outputs for name in _upwards(nodes, start)]
    prompt = next((words for name in ways if (words := _conditioned(nodes, name))), "")
    seed = next((seed for name in ways if (seed := _seed(nodes, name)) is not None), None)
    return (prompt[:LONGEST_PROMPT], seed) if prompt else None


def _conditioned(nodes: Mapping[str, dict[str, Any]], name: str) -> str:
    """The texts that a sampler or guider draws towards, in their order; "" of other nodes."""
    links = _links(nodes[name])
    start = links.get("positive") or (links.get("conditioning") if "model" in links else None)
    return ", ".join(dict.fromkeys(_texts(nodes, start))) if start in nodes else ""


def _texts(nodes: Mapping[str, dict[str, Any]], name: str) -> Iterator[str]:
    """What a node says, or else what the nodes say that feed it, one after the other."""
    waiting, seen = [name], set[str]()
    while waiting and len(seen) < _FURTHEST:
        each = waiting.pop()
        seen.add(each)
        if words := _words(nodes[each]):
            yield words
        else:
            links = [link for key, link in _links(nodes[each]).items() if key != "negative"]
            waiting += [link for link in reversed(links) if link in nodes and link not in seen]


def _words(inputs: Mapping[str, Any]) -> str:
    """What a node says itself: of an encoder of texts, or of a node that holds a text."""
    found = [inputs[name] for name in ("text", "text_g", "text_l", "prompt", "string", "value") if name in inputs]
    return next((words.strip() for words in found if isinstance(words, str) and words.strip()), "")


def _seed(nodes: Mapping[str, dict[str, Any]], name: str) -> int | None:
    """The seed that a node has, or takes from the value of another one."""
    for key in ("noise_seed", "seed"):
        value = nodes[name].get(key)
        giver = nodes.get(_links(nodes[name]).get(key, ""), {})
        for found in (value, giver.get("value"), giver.get("seed"), giver.get("int")):
            if _whole(found) is not None:
                return found
    return None


def _upwards(nodes: Mapping[str, dict[str, Any]], start: str) -> Iterator[str]:
    """A node and what feeds it, nearest first."""
    waiting, seen = [start], {start}
    while waiting and len(seen) < _FURTHEST:
        name = waiting.pop(0)
        yield name
        for link in _links(nodes[name]).values():
            if link in nodes and link not in seen:
                seen.add(link)
                waiting.append(link)


def _links(inputs: Mapping[str, Any]) -> dict[str, str]:
    """The inputs that come from other nodes: written [node, place]."""
    return {
        key: str(value[0])
        for key, value in inputs.items()
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int) and isinstance(value[1], int)
    }


def _has_inputs(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("inputs"), dict)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < SEEDS else None


def _json(text: str) -> Any:
    """What a chunk holds; None where it is broken: a picture without a prompt is a picture all the same."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_Reader = Callable[[str], tuple[str, int | None] | None]
_PROGRAMS: tuple[tuple[str, str, _Reader], ...] = (
    ("parameters", "AUTOMATIC1111", _a1111),
    (images.USER_COMMENT, "AUTOMATIC1111", _a1111),
    ("prompt", "ComfyUI", _comfyui),
    ("invokeai_metadata", "InvokeAI", _invokeai),
)
