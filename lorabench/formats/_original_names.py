"""A U-Net's modules by the names of the code that it was first written in, which kohya's files of SDXL have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

_ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_IN_RESNETS = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_MIDDLE = {"resnets.0": "middle_block.0", "attentions.0": "middle_block.1", "resnets.1": "middle_block.2"}
_LAYER = re.compile(r"unet\.(?P<block>(?:down|up)_blocks\.\d+|mid_block)\.(?P<layer>[a-z]+\.\d+)\.(?P<inner>.+)")


def original_names(names: Iterable[str]) -> dict[str, str]:
    """The other name of each of a U-Net's modules ("unet.down_blocks.1.attentions.0.proj_in" and its like).

    The blocks are counted through: layer after layer, and what halves or doubles the size. `names` are all of them.
    """
    names = [name for name in names if name.startswith("unet.")]
    places = _places(names)
    found = {}
    for name in names:
        if match := _LAYER.match(name):
            place = places.get(f"{match['block']}.{match['layer']}")
            inner = match["inner"]
            if match["layer"].startswith("resnets"):
                inner = _IN_RESNETS.get(inner, inner)
            elif match["layer"].startswith("downsamplers"):
                inner = inner.replace("conv", "op", 1)
            if place is not None:
                found[name] = f"unet.{place}.{inner}"
        elif (end := _ENDS.get(name.removeprefix("unet."))) is not None:
            found[name] = f"unet.{end}"
    return found


def _places(names: Iterable[str]) -> dict[str, str]:
    """Layer ("down_blocks.1.attentions.0") -> where it stands in the original ("input_blocks.4.1")."""
    layers = dict.fromkeys(f"{match['block']}.{match['layer']}" for name in names if (match := _LAYER.match(name)))
    places = {f"mid_block.{layer}": place for layer, place in _MIDDLE.items()}
    first = 1  # after conv_in
    for block, count in _blocks(layers, "down_blocks"):
        for layer in range(count):
            places |= _pair(block, layer, f"input_blocks.{first + layer}")
        places[f"{block}.downsamplers.0"] = f"input_blocks.{first + count}.0"
        first += count + 1
    first = 0
    for block, count in _blocks(layers, "up_blocks"):
        for layer in range(count):
            places |= _pair(block, layer, f"output_blocks.{first + layer}")
        behind = 2 if f"{block}.attentions.0" in layers else 1
        places[f"{block}.upsamplers.0"] = f"output_blocks.{first + count - 1}.{behind}"
        first += count
    return places


def _pair(block: str, layer: int, place: str) -> dict[str, str]:
    return {f"{block}.resnets.{layer}": f"{place}.0", f"{block}.attentions.{layer}": f"{place}.1"}


def _blocks(layers: Mapping[str, None], side: str) -> Iterator[tuple[str, int]]:
    """Each block of a side with the number of its layers."""
    counts: dict[str, int] = {}
    for layer in layers:
        if layer.startswith(side) and ".resnets." in layer:
            block = layer.partition(".resnets.")[0]
            counts[block] = counts.get(block, 0) + 1
    return iter(sorted(counts.items(), key=lambda item: int(item[0].rpartition(".")[2])))
