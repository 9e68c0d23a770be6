"""What all encoders share: resize, normalise, batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from lorabench import images as pictures
from lorabench.errors import UserError, unknown
from lorabench.processes import map_in_threads

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH_SIZE = 32
# Rises when the same picture and weights give other features.
PREPROCESSING_VERSION = 1


@dataclass(frozen=True)
class Preprocessing:
    """Side of the input in pixels; mean and standard deviation per channel, of values in [0, 1]."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class PictureEncoder:
    """A network behind its preprocessing: the `components.Encoder` of all encoders here. float32 everywhere.

    `network` is float [n, 3, h, w] -> [n, d]; its weights are already on `device`.
    """

    def __init__(
        self,
        name: str,
        architecture: str,
        weights_sha256: str,
        network: Callable[[torch.Tensor], torch.Tensor],
        preprocessing: Preprocessing,
        device: torch.device,
        resize_modes: tuple[str, ...],
        stored: bool = True,
    ) -> None:
        self.name = name
        self.id = f"{name}-{architecture}-{weights_sha256[:12]}-v{PREPROCESSING_VERSION}"
        self.resize_modes = resize_modes
        self.stored = stored
        self._network = network
        self._preprocessing = preprocessing
        self._device = device

    @torch.inference_mode()
    def encode_images(self, images: Sequence[np.ndarray], resize: str) -> np.ndarray:
        """uint8 pictures [h, w, 3] of any size -> float32 [n, d]; the batch a picture is in does not matter.

        `resize` may be "" where all pictures are square: then every mode agrees. UserError for a mode it has not.
        """
        if not images:
            raise ValueError(f"Encoder '{self.name}' was given no pictures.")
        mode = self._mode(images, resize)
        features: np.ndarray | None = None
        for rows in _rows_of_equal_shape(images, mode):
            resized = partial(pictures.resize, size=self._preprocessing.size, mode=mode)
            batch = np.stack(map_in_threads(resized, [images[row] for row in rows], torch.get_num_threads()))
            answer = self._network(self._normalised(batch)).float().cpu().numpy()
            if features is None:
                features = np.empty((len(images), answer.shape[1]), np.float32)
            features[rows] = answer
        return features

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError(f"Encoder '{self.name}' reads no texts.")

    def _mode(self, images: Sequence[np.ndarray], resize: str) -> str:
        if resize in self.resize_modes:
            return resize
        if resize == "" and all(image.shape[0] == image.shape[1] for image in images):
            return self.resize_modes[0]
        where = f"encoder '{self.name}'" + (", pictures that are not square" if resize == "" else "")
        raise UserError(unknown("resize mode", resize, self.resize_modes, where))

    def _normalised(self, batch: np.ndarray) -> torch.Tensor:
        """uint8 [n, h, w, 3] -> float [n, 3, h, w] as the network expects it, on its device."""
        values = torch.from_numpy(batch).to(self._device).permute(0, 3, 1, 2).float().div_(255)
        mean, std = (
            torch.tensor(of, device=self._device).view(1, 3, 1, 1)
            for of in (self._preprocessing.mean, self._preprocessing.std)
        )
        return ((values - mean) / std).contiguous()


def _rows_of_equal_shape(images: Sequence[np.ndarray], mode: str) -> Iterator[list[int]]:
    """Rows of at most BATCH_SIZE pictures that have one shape after resizing."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(images):
        rows.setdefault(image.shape if mode == "scale" else (), []).append(row)
    for same in rows.values():
        for start in range(0, len(same), BATCH_SIZE):
            yield same[start : start + BATCH_SIZE]
