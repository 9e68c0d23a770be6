"""The tokenizer of the miniature world: byte-pair encoding in which every known word is one token."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from lorabench.mini.vocabulary import TRIGGER_CLOSE, TRIGGER_OPEN, TRIGGER_WORDS, caption_words

CONTEXT_LENGTH = 32
PAD, START, UNKNOWN, END = "<|pad|>", "<|startoftext|>", "<|unknown|>", "<|endoftext|>"
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"()[]{}<>-_+*/&%#@=~|"


def byte_pair_merges(words: list[str]) -> list[tuple[str, str]]:
    """Merges, in order, that turn each of `words` into one token; ties go to the smallest pair."""
    pieces = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges = []
    while True:
        pairs = Counter(pair for piece in pieces for pair in zip(piece, piece[1:]))
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        pieces = [_merge(piece, best) for piece in pieces]


def _merge(piece: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    index = 0
    while index < len(piece):
        if tuple(piece[index : index + 2]) == pair:
            merged.append(piece[index] + piece[index + 1])
            index += 2
        else:
            merged.append(piece[index])
            index += 1
    return merged


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token -> id, and the merges.

    Padding is 0 and the end of text the largest id: open_clip pools the text at the largest id of a row.
    """
    merges = byte_pair_merges(sorted({*caption_words(), *TRIGGER_WORDS}))
    characters = list(_CHARACTERS)
    tokens = [PAD, START, UNKNOWN, *characters, *(c + "</w>" for c in characters), *(a + b for a, b in merges)]
    tokens += [TRIGGER_OPEN, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def write_tokenizer(folder: Path) -> None:
    """Write a folder that `transformers.CLIPTokenizer` and `AutoTokenizer` load."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens, merges = vocabulary()
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "vocab.json").write_text(json.dumps(tokens, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    # Brackets of triggers are added tokens, so that "[V_mika]" is three tokens and not five of a regular split.
    added = {token: tokens[token] for token in (PAD, START, UNKNOWN, TRIGGER_OPEN, TRIGGER_CLOSE, END)}
    special = {PAD, START, UNKNOWN, END}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CONTEXT_LENGTH,
        "bos_token": START,
        "eos_token": END,
        "pad_token": PAD,
        "unk_token": UNKNOWN,
        "do_lower_case": True,
        "errors": "replace",
        "clean_up_tokenization_spaces": True,
        "added_tokens_decoder": {
            str(index): {
                "content": token,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "single_word": False,
                "special": token in special,
            }
            for token, index in added.items()
        },
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    names = {"bos_token": START, "eos_token": END, "pad_token": PAD, "unk_token": UNKNOWN}
    (folder / "special_tokens_map.json").write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
