"""A Stable Video Diffusion folder of the real classes, tiny and random."""

from __future__ import annotations

from pathlib import Path

import torch


def write_tiny_video_model(folder: Path) -> Path:
    """Write a diffusers folder whose frames have sides of multiples of 64 pixels, as those of the published model."""
    import diffusers
    import transformers

    def blocks(*kinds: str) -> tuple[str, ...]:
        return tuple(f"{kind}BlockSpatioTemporal" for kind in kinds)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = diffusers.StableVideoDiffusionPipeline(
            unet=diffusers.UNetSpatioTemporalConditionModel(
                block_out_channels=(32,) * 4, layers_per_block=1, num_attention_heads=(2,) * 4, num_frames=3,
                down_block_types=blocks(*("CrossAttnDown",) * 3, "Down"),
                up_block_types=blocks("Up", *("CrossAttnUp",) * 3),
                cross_attention_dim=16, addition_time_embed_dim=8, projection_class_embeddings_input_dim=24,
            ),
            vae=diffusers.AutoencoderKLTemporalDecoder(
                block_out_channels=(32,) * 4, layers_per_block=1, latent_channels=4,
                down_block_types=("DownEncoderBlock2D",) * 4,
            ),
            image_encoder=transformers.CLIPVisionModelWithProjection(
                transformers.CLIPVisionConfig(
                    hidden_size=16, intermediate_size=16, projection_dim=16, num_hidden_layers=1,
                    num_attention_heads=2, image_size=224, patch_size=56,
                )
            ),
            scheduler=diffusers.EulerDiscreteScheduler(
                beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
                use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0, steps_offset=1,
                timestep_spacing="leading", timestep_type="continuous",
            ),
            feature_extractor=transformers.CLIPImageProcessor(image_mean=[0.4, 0.5, 0.6]),
        )  # fmt: skip
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder
