"""A small base model, adapters as after training, and their files."""

from pathlib import Path

import peft
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from lorabench import adapters, components, formats
from lorabench.adapters import Adapter
from lorabench.components import Origin
from lorabench.records import AdapterConfig, TrainConfig, TrainingConfig

ALGORITHMS = [
    ("lora", {"dim": 4, "alpha": 1.0}),
    ("loha", {"dim": 3}),
    ("lokr", {"factor": 2}),
    ("lokr", {"factor": 2, "dim": 2, "alpha": 0.1}),
    ("native", {}),
    ("lora", {"dim": 4, "alpha": 1.0, "conv_dim": 2, "conv_alpha": 0.5, "tucker": True}),
    ("loha", {"dim": 3, "alpha": 2.0, "dora": True}),
    ("lokr", {"factor": 4, "dim": 1, "alpha": 0.1, "decompose_both": True}),
    ("glora", {"dim": 3, "alpha": 2.0}),
    ("ia3", {}),
    ("oft", {"dim": 4}),
    ("oft", {"dim": 4, "alpha": 0.01}),
    ("boft", {"dim": 4}),
    ("dylora", {"dim": 4, "alpha": 1.0}),
]


def tiny() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    sizes = {"hidden_size": 16, "intermediate_size": 64, "projection_dim": 16, "vocab_size": 100}
    text_encoder = CLIPTextModel(CLIPTextConfig(num_hidden_layers=2, num_attention_heads=2, **sizes))
    return {"unet": unet.requires_grad_(False), "text_encoder": text_encoder.requires_grad_(False)}


def trained(base: dict[str, nn.Module], name: str, layers: str = "full", **values: float) -> Adapter:
    """An adapter whose every tensor is random, as after training."""
    config = AdapterConfig(name, layers, **values)
    adapter = adapters.create(base, components.find("algorithms", name), config, seed=1)
    with torch.no_grad():
        for tensor in adapters.parameters(adapter):
            tensor.normal_(0, 0.3)
    return adapter


def stated(adapter: Adapter) -> TrainConfig:
    """What files of such an adapter say of it."""
    return TrainConfig("c", adapter.config, TrainingConfig(5e-4, epochs=3, checkpoint_epochs=(1, 3)))


def saved(folder: Path, adapter: Adapter, dtype: formats.DType = "float32") -> Path:
    path = folder / "adapter.safetensors"
    formats.save_adapter(path, adapter, stated(adapter), Origin("tiny-0", 23, 3, 90), dtype=dtype)
    return path


def rewritten(path: Path, change, metadata: dict[str, str] | None = None) -> Path:
    """The file with its tensors changed and its metadata replaced."""
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)
    return path


def peft_models(base: dict[str, nn.Module], rslora: bool = False) -> dict[str, peft.PeftModel]:
    """peft LoRAs with random weights on both components, with an alpha of its own for one kind of layer."""
    models = {}
    for component, targets in (("unet", ["to_q", "to_out.0", "conv1"]), ("text_encoder", ["q_proj", "fc1"])):
        config = peft.LoraConfig(
            r=4, lora_alpha=3, target_modules=targets, alpha_pattern={targets[0]: 8}, use_rslora=rslora
        )
        models[component] = peft.get_peft_model(base[component], config)
        with torch.no_grad():
            for name, tensor in models[component].named_parameters():
                if "lora_" in name:
                    tensor.normal_(0, 0.3)
    return models
