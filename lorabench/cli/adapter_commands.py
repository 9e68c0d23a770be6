"""The commands about adapters as files: count, inspect, convert, merge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lorabench import api
from lorabench.cli.app import app
from lorabench.cli.options import AllowUnused, Json, Quiet
from lorabench.cli.output import print_json, show_one
from lorabench.errors import UserError
from lorabench.values import MOST_VECTORS, WIDEST


@app.command()
def count(
    algorithm: Annotated[
        str | None, typer.Option(help="lora, loha, lokr, native, ...; see `lorabench list algorithms`")
    ] = None,
    base: Annotated[str, typer.Option(help="sd15, sd2, sdxl, mini, hub id, diffusers folder or .safetensors")] = "sd15",
    layers: Annotated[str, typer.Option(help="attention, linear, full or regex:<expression>")] = "linear",
    dim: Annotated[int | None, typer.Option(min=1, max=WIDEST, help="rank; lokr: none = a full second block")] = None,
    alpha: Annotated[float | None, typer.Option(min=0, max=WIDEST, help="the update's scale is alpha / dim")] = None,
    factor: Annotated[int | None, typer.Option(min=1, max=WIDEST, help="of lokr")] = None,
    conv_dim: Annotated[int | None, typer.Option(min=1, max=WIDEST, help="dim of kernels larger than 1 x 1")] = None,
    decompose_both: Annotated[bool, typer.Option("--decompose-both", help="lokr: first block of low rank too")] = False,
    tucker: Annotated[bool, typer.Option("--tucker", help="kernels by Tucker decomposition")] = False,
    dora: Annotated[bool, typer.Option("--dora", help="magnitude and direction apart")] = False,
    peft: Annotated[
        str | None, typer.Option(help='method of peft: VERA, or JSON, {"peft_type": "VERA", "r": 8}')
    ] = None,
    vectors: Annotated[int | None, typer.Option(min=1, max=MOST_VECTORS, help="of a word that is trained")] = None,
    unet: Annotated[bool, typer.Option(help="train the U-Net")] = True,
    text_encoder: Annotated[bool, typer.Option(help="train the text encoder")] = True,
    as_json: Json = False,
) -> None:
    """Count what an adapter would train: parameters, modules, bytes of its float16 file. Reads no weights."""
    if algorithm is None and peft is None:
        raise UserError("Name what to count: --algorithm lora, say, or --peft and a method of peft.")
    found = api.count(
        algorithm or "peft", base=base, layers=layers, dim=dim, alpha=alpha, factor=factor, conv_dim=conv_dim,
        decompose_both=decompose_both, tucker=tucker, dora=dora, peft=peft, vectors=vectors, unet=unet,
        text_encoder=text_encoder,
    )  # fmt: skip
    show_one(found, as_json)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="adapter file, peft folder, or folder of several")],
    base: Annotated[str | None, typer.Option(help="its base model; default: the architecture that it fits")] = None,
    allow_unused: AllowUnused = None,
    as_json: Json = False,
) -> None:
    """Say what an adapter file holds: algorithm, layers, sizes, parameters, norms of its updates, metadata.

    The health of its weights is said block by block: a spectral norm, or a share of the first direction, far above that
    of other files foretells trouble in merges and pictures. Of a folder of several it is compared, file by file, and
    what is unlike the others is named. With --json also every module on its own.
    """
    found = api.inspect(file, base=base, allow_unused=allow_unused or ())
    if as_json:
        show_one(found, as_json)
    elif "files" in found:
        from lorabench.cli import health_words

        print("\n".join(health_words.compared(found)))
    else:
        from lorabench.cli import health_words

        show_one({key: value for key, value in found.items() if key not in ("layers", "blocks")}, as_json)
        print("\n".join(health_words.blocks(found["blocks"])))


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="IN", help="adapter file, or peft folder")],
    out: Annotated[Path, typer.Argument(help="where to write; nothing may be there yet")],
    to: Annotated[str, typer.Option(help="kohya, diffusers, peft, embedding or merged")],
    base: Annotated[str | None, typer.Option(help="base model; needed for merged")] = None,
    scale: Annotated[float, typer.Option(help="merge ratio, for merged")] = 1.0,
    dtype: Annotated[str, typer.Option(help="float32, which rounds nothing, float16 or bfloat16")] = "float32",
    allow_unused: AllowUnused = None,
    as_json: Json = False,
) -> None:
    """Turn an adapter into another format, or into a whole base model with the update merged in."""
    done = api.convert(file, out, to=to, base=base, scale=scale, dtype=dtype, allow_unused=allow_unused or ())
    if as_json:
        show_one({"from": str(file), "to": str(done), "format": to}, as_json)
    else:
        print(done)


@app.command()
def merge(
    adapters: Annotated[
        list[str],
        typer.Argument(metavar="FILE[:RATIO]", help="adapters, each at its merge ratio; 1 where none is said"),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="where to write; nothing may be there yet")],
    method: Annotated[str, typer.Option(help="linear, svd, ties, dare or dlf")] = "linear",
    rank: Annotated[
        int | None, typer.Option(min=1, max=WIDEST, help="compress to it; svd: the parents' largest")
    ] = None,
    density: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="of ties and dare: the share that is kept; default: 0.5")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="of dare: chooses what is kept; default: 0")] = None,
    base: Annotated[str | None, typer.Option(help="base model; needed for DoRA, (IA)^3, OFT")] = None,
    to: Annotated[str, typer.Option(help="kohya, diffusers or peft")] = "kohya",
    dtype: Annotated[str, typer.Option(help="float32, which rounds nothing, float16 or bfloat16")] = "float32",
    allow_unused: AllowUnused = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write several adapters as one: their sum, the sum compressed to a rank, TIES, DARE or layer-wise fusion.

    Any algorithms go together. Says what compressing cost, and how far the updates agree.
    """
    parents = dict(_with_ratio(text) for text in adapters)
    if len({Path(file).resolve() for file in parents}) < len(adapters):
        raise UserError("An adapter is named twice: add its ratios up.")
    found = api.merge(
        parents, out, method=method, rank=rank, density=density, seed=seed, base=base, to=to, dtype=dtype,
        allow_unused=allow_unused or (), quiet=quiet,
    )  # fmt: skip
    if as_json:
        print_json(found)
        return
    from lorabench.cli.cells import wrapped

    pairs = found.pop("interference")
    found["parents"] = " + ".join(f"{ratio:g} x {file}" for file, ratio in found["parents"].items())
    if found["error"] is not None:
        found["error"] = f"{found['error']:.2%} of the sum is lost to the rank"
    show_one(found, False)
    for row in pairs:
        print("\n".join(wrapped(_agreement(row))))


def _agreement(row: dict[str, Any]) -> str:
    names = " and ".join(row["adapters"])
    if not row["shared_modules"]:
        return f"{names} change no weight in common."
    return (
        f"{names} change {row['shared_modules']} weights in common: cosine {row['cosine']:.2f} (1 = the same change, "
        f"-1 = the opposite), overlap of their directions {row['overlap']:.2f} (medians; --json has all layers)."
    )


def _with_ratio(text: str) -> tuple[str, float]:
    """ "a.safetensors:0.5" -> that file and 0.5; a path that is there is one as it is."""
    file, colon, ratio = text.rpartition(":")
    if not colon or Path(text).exists():
        return text, 1.0
    try:
        return file, float(ratio)
    except ValueError:
        if Path(file).exists():
            raise UserError(f"'{ratio}' behind {file} is no ratio: write a number, as in {file}:0.5.") from None
        return text, 1.0
