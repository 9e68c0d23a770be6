"""Draw pictures with a base model: by its own modules, or by copies in half precision that stay beside them.

A cast of every weight at every step is what autocast would cost: SD1.5 has 860 M, and a picture takes 50 passes.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from lorabench.base_models import STOCK_DDIM, BaseModel
from lorabench.bases import UNET, Texts, sizes_of
from lorabench.records import Sampling
from lorabench.values import KARRAS

# The decoder's activations are the largest of all (3 GB for 8 pictures of 512 x 512); smaller batches cost no time.
DECODER_BATCH = 8
# How far a compiled U-Net may be from the eager one, in norms of the answer: other orders of sums, no other weights.
FAITHFUL = {torch.float32: 1e-4, torch.float16: 1e-2}
BLOCKS = (BasicTransformerBlock, ResnetBlock2D)  # that are compiled, nearly all that a U-Net does
# Blocks share the code that is compiled; SD1.5's need some thirty versions of it, one for each shape.
VERSIONS = 128


@dataclass(frozen=True)
class Sampler:
    """A base model ready to draw, whatever weights its modules hold now."""

    base: BaseModel  # encodes the prompts, in float32
    unet: UNet2DConditionModel
    vae: AutoencoderKL
    is_compiled: bool = False

    @property
    def components(self) -> dict[str, nn.Module]:
        """The modules that draw: where `adapters.swapped` puts the merged weights."""
        return {**self.base.components, UNET: self.unet}

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    @torch.inference_mode()
    def sample(
        self,
        texts: Texts,
        unconditional: Texts,
        noise: Tensor,
        sampling: Sampling,
        generators: Sequence[torch.Generator] | None = None,
    ) -> np.ndarray:
        """Draw uint8 [n, height, width, 3] with classifier-free guidance, as the stock pipeline does; DDIM with eta 0.

        `unconditional` is one row, of as many tokens; noise float32 [n, c, h, w]. Guidance <= 1 means none.
        Schedulers that add noise at every step draw each picture's from its generator, on the CPU. The steps between
        two passes of the U-Net are float32.
        """
        scheduler = scheduler_of(sampling.scheduler, self.base.scheduler_config, sampling.zero_terminal_snr)
        scheduler.set_timesteps(sampling.steps)
        step = partial(scheduler.step, return_dict=False)
        if generators is not None and "generator" in inspect.signature(scheduler.step).parameters:
            step = partial(step, generator=list(generators))
        guided = sampling.guidance > 1
        told = self._told(Texts.joined([unconditional.repeated(len(texts)), texts]) if guided else texts, noise)
        latents = noise.to(self.base.device) * scheduler.init_noise_sigma
        on_device = scheduler.timesteps.to(self.base.device)  # one copy instead of one a step
        for place, timestep in enumerate(scheduler.timesteps):
            shown = scheduler.scale_model_input(latents, timestep)
            doubled = torch.cat([shown, shown]) if guided else shown
            predicted = self._predicted(doubled, on_device[place], told)
            if guided:
                without, with_prompt = predicted.chunk(2)
                predicted = without + sampling.guidance * (with_prompt - without)
            latents = step(predicted, timestep, latents)[0]
        return self._decode(latents)

    @torch.inference_mode()
    def check(self, texts: Texts, noise: Tensor, sampling: Sampling) -> None:
        """Compare a pass of the compiled U-Net with the eager one's, on the shapes of `sample`.

        RuntimeError where they differ by more than rounding: a compiled graph must see the weights that are there now.
        """
        if not self.is_compiled:
            return
        times = 2 if sampling.guidance > 1 else 1
        latents, told = noise.to(self.base.device).repeat(times, 1, 1, 1), self._told(texts.repeated(times), noise)
        timestep = torch.tensor(len(self.base.alphas_cumprod) // 2, device=self.base.device)
        inputs = latents, timestep, told
        compiled = self._predicted(*inputs)
        with torch.compiler.set_stance("force_eager"):
            eager = self._predicted(*inputs)
        distance = float((compiled - eager).norm() / eager.norm())
        if not distance <= FAITHFUL[self.dtype]:
            raise RuntimeError(
                f"the compiled U-Net is {distance:.2g} of the answer away from the same U-Net uncompiled; rounding "
                f"explains {FAITHFUL[self.dtype]:g}. Run again without --compile"
            )

    def _told(self, texts: Texts, noise: Tensor) -> dict[str, Any]:
        """What the U-Net reads beside latents and timestep, in its precision; whole pictures are asked for."""
        texts, (height, width) = texts.to(self.base.device, self.dtype), noise.shape[-2:]
        side = self.base.pixels_per_latent
        shown = height * side, width * side
        sizes = sizes_of(shown, (0, 0), shown).to(self.base.device).expand(len(texts), -1)
        return {"encoder_hidden_states": texts.states, **self.base.kind.conditions(texts, sizes)}

    def _predicted(self, latents: Tensor, timestep: Tensor, told: dict[str, Any]) -> Tensor:
        return self.unet(latents.to(self.dtype), timestep, return_dict=False, **told)[0].float()

    def _decode(self, latents: Tensor) -> np.ndarray:
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        pixels = torch.cat([self.vae.decode(part, return_dict=False)[0] for part in scaled.split(DECODER_BATCH)])
        bytes_ = ((pixels.float() * 0.5 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return bytes_.permute(0, 2, 3, 1).cpu().numpy()


def scheduler_of(name: str, config: Mapping[str, Any], zero_terminal_snr: bool = False) -> Any:
    """A scheduler of diffusers by the name that `Sampling` has, with the noise schedule of a base model's config.

    With `zero_terminal_snr` it begins at the last timestep, where nothing is left of a picture (Lin et al. 2024).
    """
    of_class = name.removesuffix(KARRAS)
    options = {"DDIM": STOCK_DDIM, "PNDM": {"skip_prk_steps": True}}.get(of_class, {})  # as SD1.5's own config has it
    options = options | ({"use_karras_sigmas": True} if name.endswith(KARRAS) else {})
    options = options | (_ZERO_TERMINAL if zero_terminal_snr else {})
    return getattr(diffusers, f"{of_class}Scheduler").from_config(config, **options)


_ZERO_TERMINAL = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@cache
def passes(sampling: Sampling) -> int:
    """Passes of the U-Net over one picture: guidance takes two a step, and some schedulers do more steps than asked."""
    scheduler = scheduler_of(sampling.scheduler, {})
    scheduler.set_timesteps(sampling.steps)
    return len(scheduler.timesteps) * (2 if sampling.guidance > 1 else 1)


def sampler_of(base: BaseModel, compiled: bool = False) -> Sampler:
    """The sampler of a base model: its own modules in float32, float16 copies for a base that trains in bfloat16.

    bfloat16 would round a merged weight W0 + dW so coarsely that an update of |dW|/|W| = 1e-3 is off by 78 %. Of SDXL
    the autoencoder stays float32 where its config says that it overflows in float16. With
    `compiled`, the blocks of the U-Net are compiled at their first pass, once for each shape.
    """
    unet, vae = base.unet, base.vae
    if base.dtype != torch.float32 or compiled:  # what training uses is never compiled
        dtype = torch.float16 if base.dtype == torch.bfloat16 else base.dtype
        unet = _copy(base.unet, dtype)
        vae = vae if dtype == torch.float32 or base.decodes_in_float32 else _copy(base.vae, dtype)
    if compiled:
        _compile_blocks(unet)
    return Sampler(base, unet, vae, compiled)


def _copy(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The module with weights of that precision, kernels with channels last; no copy in the old precision is made."""
    weights = {
        id(weight): nn.Parameter(weight.detach().to(dtype, copy=True), requires_grad=False)
        for weight in module.parameters()
    }
    return copy.deepcopy(module, weights).to(memory_format=torch.channels_last)


def _compile_blocks(unet: nn.Module) -> None:
    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, VERSIONS)
    for module in unet.modules():
        if isinstance(module, BLOCKS):
            module.compile(dynamic=False)
