"""Let a picture of a run move: Stable Video Diffusion (Blattmann et al., 2023) makes a GIF of it.

    python examples/animate.py results/mini/images/base/scenes/volcano/trigger/0000.png volcano.gif
    python examples/animate.py results/mini volcano.gif --checkpoint base --number 3

The model (4.5 GB) is looked for in the cache of the hub, or is a folder of yours; nothing is downloaded. It computes in
float16 on a GPU, in float32 on a CPU, which takes long. Noise comes from a generator on the CPU, whatever the device.
"""

from __future__ import annotations

import argparse
import inspect
import io
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
from PIL import Image, ImageOps

import lorabench
from lorabench import images
from lorabench.base_names import parse_base
from lorabench.errors import UserError, unknown
from lorabench.store.files import replace_file
from lorabench.untrusted import clean_folder, known
from lorabench.values import LARGEST_SEED

if TYPE_CHECKING:  # they take seconds to load, and mistakes are told before
    from diffusers import StableVideoDiffusionPipeline

XT = "stabilityai/stable-video-diffusion-img2vid-xt:fp16"
SIDE = 64  # pixels: the autoencoder makes a latent of 8, and the U-Net halves three times
WEIGHTS = (
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "image_encoder/model.safetensors",
)
UNET, VAE, ENCODER = "unet/config.json", "vae/config.json", "image_encoder/config.json"
SCHEDULER, EXTRACTOR = "scheduler/scheduler_config.json", "feature_extractor/preprocessor_config.json"
SETTINGS = (UNET, VAE, ENCODER, SCHEDULER, EXTRACTOR)
INDEX = {  # what is imported, whatever a folder names
    "_class_name": "StableVideoDiffusionPipeline",
    "unet": ["diffusers", "UNetSpatioTemporalConditionModel"],
    "vae": ["diffusers", "AutoencoderKLTemporalDecoder"],
    "image_encoder": ["transformers", "CLIPVisionModelWithProjection"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
}
NUMBERS = {  # option: least, most, default, what it is
    "number": (0, 1_000_000, 0, "which picture of the checkpoint, from 0"),
    "frames": (2, 200, 25, "how many; the model was trained on 25, its older sister img2vid on 14"),
    "fps": (1, 50, 7, "frames a second, of which the model is told"),
    "motion-bucket": (0, 255, 127, "the higher, the more moves"),
    "noise-augmentation": (0.0, 1.0, 0.02, "noise on the picture: with more, frames are less like it and move more"),
    "steps": (1, 1_000, 25, "of the scheduler"),
    "decode-chunk": (1, 200, 15, "frames that are decoded at once: fewer need less memory"),
    "seed": (0, LARGEST_SEED, 0, "of the noise"),
}


def picture_of(place: Path, checkpoint: str | None, number: int) -> Path:
    """The file of a picture: `place` itself, or one that a checkpoint drew in the run of that folder. UserError."""
    if checkpoint is None:
        if place.is_dir():
            raise UserError(f"{place} is a folder: name a picture, or a checkpoint of the run with --checkpoint.")
        return place
    kept = lorabench.open_run(place).images.reindex(columns=["checkpoint", "file"]).dropna()
    if kept.empty:
        raise UserError(f"Run {place} has kept no pictures (images.keep).")
    files = kept.loc[kept["checkpoint"] == checkpoint, "file"].tolist()
    if not files:
        raise UserError(unknown("checkpoint", checkpoint, list(kept["checkpoint"].unique()), str(place)))
    if number >= len(files):
        raise UserError(f"Checkpoint {checkpoint} has {len(files)} pictures in {place}; there is no --number {number}.")
    return place / files[number]


def fitted(picture: Path, size: tuple[int, int], resize: str) -> Image.Image:
    """The picture as the model sees it. UserError for a file that is none."""
    fit = ImageOps.pad if resize == "letterbox" else ImageOps.fit
    return fit(Image.fromarray(images.read(picture)), size, Image.Resampling.LANCZOS)


def find_model(source: str) -> dict[str, Path]:
    """The files of a model by their usual names; where the variant's is missing, the usual one.

    Written as base models are (`lorabench.base_names`): a folder or a hub id, "@revision", ":variant". UserError.
    """
    name = parse_base(source)
    variants = {file: file.replace(".", f".{name.variant}.") if name.variant else file for file in WEIGHTS}
    folder, revision = Path(name.place).expanduser(), f" --revision {name.revision}" if name.revision else ""
    get = f"download it with `hf download {name.place}{revision} {' '.join((*variants.values(), *SETTINGS))}`"
    if not folder.is_dir():
        try:
            folder = Path(snapshot_download(name.place, revision=name.revision or None, local_files_only=True))
        except HFValidationError:
            raise UserError(f"Model '{source}' is neither a folder nor a hub id.") from None
        except LocalEntryNotFoundError:
            raise UserError(f"Model '{source}' is neither a folder nor in the local cache of the hub; {get}.") from None
    files = {file: folder / file for file in (*WEIGHTS, *SETTINGS)}
    files |= {file: folder / variant for file, variant in variants.items() if (folder / variant).is_file()}
    missing = next((variants.get(usual, usual) for usual, file in files.items() if not file.is_file()), None)
    if missing:
        again = "save it again with diffusers" if folder == Path(name.place).expanduser() else get
        raise UserError(f"Model {folder} has no {missing}, which Stable Video Diffusion needs; {again}.")
    return files


def load(files: Mapping[str, Path], device: str, offload: bool) -> StableVideoDiffusionPipeline:
    """The pipeline on a device, with `offload` one part of it at a time. UserError for files that do not load."""
    import diffusers
    import torch
    import transformers

    settings_of = {
        UNET: diffusers.UNetSpatioTemporalConditionModel,
        VAE: diffusers.AutoencoderKLTemporalDecoder,
        ENCODER: transformers.CLIPVisionConfig,
        SCHEDULER: diffusers.EulerDiscreteScheduler,
    }
    keys = {name: inspect.signature(each).parameters for name, each in settings_of.items()}
    keys[EXTRACTOR] = ("image_mean", "image_std")  # the pipeline does the rest itself
    shown = {name: known(file, keys[name]) if name in keys else file for name, file in files.items()}
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # of `torch_dtype`, for which older versions have no other word
    try:
        with clean_folder({"model_index.json": INDEX, **shown}) as folder:
            pipeline = diffusers.StableVideoDiffusionPipeline.from_pretrained(
                folder, torch_dtype=torch.float32 if device == "cpu" else torch.float16, use_safetensors=True
            )
    except Exception as error:  # both libraries raise anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"Model {files[UNET].parents[1]} cannot be loaded: {reason}") from error
    pipeline.set_progress_bar_config(disable=True)
    if offload:
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    return pipeline.to(device)


def animated(
    pipeline: StableVideoDiffusionPipeline, picture: Image.Image, options: argparse.Namespace
) -> list[Image.Image]:
    """The frames that the pipeline makes of a picture. UserError where they take more memory than the GPU has."""
    import torch

    from lorabench.api.progress import open_progress

    passes = options.steps + -(-options.frames // options.decode_chunk)
    with open_progress(quiet=False).stage("animate", 1, passes) as advance:
        for part in (pipeline.unet, pipeline.vae.decoder):
            part.register_forward_hook(lambda *_: advance(1))
        try:
            return pipeline(
                picture,
                width=picture.width,
                height=picture.height,
                num_frames=options.frames,
                num_inference_steps=options.steps,
                fps=options.fps,
                motion_bucket_id=options.motion_bucket,
                noise_aug_strength=options.noise_augmentation,
                decode_chunk_size=options.decode_chunk,
                generator=torch.Generator().manual_seed(options.seed),
            ).frames[0]
        except torch.OutOfMemoryError:
            raise UserError("The GPU has too little memory; add --offload, or lower --decode-chunk.") from None


def gif(frames: list[Image.Image], fps: int) -> bytes:
    """A GIF that loops. It counts hundredths of a second: at 7 a second, frames last 14 or 15 and stay in time."""
    ends = [round(100 * number / fps) for number in range(len(frames) + 1)]
    milliseconds = [10 * (end - begin) for begin, end in zip(ends, ends[1:])]
    file = io.BytesIO()
    frames[0].save(file, format="GIF", save_all=True, append_images=frames[1:], duration=milliseconds, loop=0)
    return file.getvalue()


def between(least: float, most: float) -> Callable[[str], float]:
    """Reads a number of the kind of `least` within these bounds."""

    def number(text: str) -> float:
        try:
            if least <= (value := type(least)(text)) <= most:
                return value
        except ValueError:
            pass
        kind = "whole number" if isinstance(least, int) else "number"
        raise argparse.ArgumentTypeError(f"must be a {kind} from {least} to {most}, got '{text}'")

    return number


def size(text: str) -> tuple[int, int]:
    """Reads "1024x576"."""
    sides = [int(side) if side.isdecimal() else 0 for side in text.split("x")]
    if len(sides) != 2 or not all(SIDE <= side <= 2048 and side % SIDE == 0 for side in sides):
        raise argparse.ArgumentTypeError(f"must be two multiples of {SIDE} up to 2048, as in 1024x576, got '{text}'")
    return sides[0], sides[1]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(usage="animate.py PICTURE GIF [options]", description=__doc__.splitlines()[0])
    made.add_argument("picture", type=Path, help="its file; with --checkpoint, the folder of a run")
    made.add_argument("gif", type=Path, help="the file to write")
    made.add_argument("--checkpoint", help="whose picture, as the folders in images/ are called")
    made.add_argument("--model", default=XT, help="a folder or a hub id, with :variant (%(default)s)")
    made.add_argument("--device", default="auto", help="auto, cpu, mps, cuda or cuda:1 (%(default)s)")
    made.add_argument(
        "--offload", action="store_true", help="for small GPUs: they hold one part of the model at a time"
    )
    made.add_argument("--size", type=size, default=(1024, 576), help="of the frames, in pixels (1024x576)")
    resize = "the picture covers the frame and its edges are cut off, or is seen whole between black bars (%(default)s)"
    made.add_argument("--resize", choices=("center_crop", "letterbox"), default="center_crop", help=resize)
    for name, (least, most, default, words) in NUMBERS.items():
        made.add_argument(f"--{name}", type=between(least, most), default=default, help=f"{words} (%(default)s)")
    return made


def run(options: argparse.Namespace) -> None:
    """Write the GIF, whole or not at all. UserError, where it can be known, before a weight is read."""
    if options.gif.suffix.lower() != ".gif":
        raise UserError(f"{options.gif} does not end in .gif.")
    if options.gif.exists():
        raise UserError(f"{options.gif} exists; remove it or name another one.")
    picture = fitted(picture_of(options.picture, options.checkpoint, options.number), options.size, options.resize)
    files = find_model(options.model)
    options.gif.parent.mkdir(parents=True, exist_ok=True)
    from lorabench.devices import pick_devices

    device = pick_devices(options.device)[0]
    if options.offload and device == "cpu":
        raise UserError("--offload spares the memory of a GPU; leave it out on a CPU.")
    content = gif(animated(load(files, device, options.offload), picture, options), options.fps)
    replace_file(options.gif, lambda scratch: scratch.write_bytes(content))
    print(options.gif)


def main() -> None:
    words = parser()
    options = words.parse_args()
    try:
        run(options)
    except UserError as error:
        words.exit(2, f"Error: {error}\n")
    except OSError as error:
        words.exit(2, f"Error: {options.gif}: {error.strerror}.\n")
    except KeyboardInterrupt:
        words.exit(130, "Interrupted: no GIF was written.\n")


if __name__ == "__main__":
    main()
