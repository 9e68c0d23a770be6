"""Encoders: every one on tiny random weights, against the libraries they come from."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import open_clip
import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import checkpoint_filter_fn
from torchvision.models.vgg import make_layers
from torchvision.models.vgg import vgg19 as torchvision_vgg19

import lorabench
from lorabench import components
from lorabench.encoders import _pictures
from lorabench.encoders._timm import Published, timm_encoder
from lorabench.errors import UserError

CPU = torch.device("cpu")
NAMES = ("clip", "convnextv2", "dinov2", "vgg19")
VIT = ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2})
CONVNEXT = ("convnextv2_atto", {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]})
LAYERS = [4, "M", 6, "M", 8, 8, "M", 8, "M", 10, "M"]
# float32 sums in another order, as batch sizes make them, differ in the last of 24 bits a few times over.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def save(folder: Path, state: dict[str, torch.Tensor], config: dict) -> None:
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    config = {**config, "image_size": 32, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, Path]:
    """A folder of tiny random weights for each encoder."""
    root = tmp_path_factory.mktemp("weights")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, (architecture, arguments) in (("dinov2", VIT), ("convnextv2", CONVNEXT)):
            state = timm.create_model(architecture, num_classes=0, **arguments).state_dict()
            save(root / name, state, {"architecture": architecture, "model_args": arguments})
        state = {f"features.{key}": value for key, value in make_layers(LAYERS).state_dict().items()}
        save(root / "vgg19", state, {"layers": LAYERS})
    shutil.copytree(Path(lorabench.__file__).parent / "mini" / "weights" / "clip", root / "clip")
    return {name: root / name for name in NAMES}


def load(name: str, path: Path | None):
    return components.find("encoders", name).load(path, CPU)


def pictures(*shapes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def normalised(picture: np.ndarray) -> torch.Tensor:
    values = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    return (values - torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_features_do_not_depend_on_the_batch(name, weights, monkeypatch):
    encoder = load(name, weights[name])
    spec = components.find("encoders", name)
    several = pictures((40, 60), (64, 64), (60, 40), (40, 60), (64, 64))
    assert (encoder.resize_modes, encoder.stored) == (spec.resize_modes, spec.stored)
    for mode in encoder.resize_modes:
        together = encoder.encode_images(several, mode)
        assert together.dtype == np.float32 and len(together) == 5
        alone = np.concatenate([encoder.encode_images([picture], mode) for picture in several])
        np.testing.assert_allclose(together, alone, **CLOSE)
    monkeypatch.setattr(_pictures, "BATCH_SIZE", 2)
    np.testing.assert_allclose(encoder.encode_images(several, mode), together, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
def test_id_names_architecture_weights_and_preprocessing(name, weights, tmp_path):
    encoder = load(name, weights[name])
    copy = shutil.copytree(weights[name], tmp_path / "elsewhere")
    assert load(name, copy).id == encoder.id
    file = next(copy.glob("*.safetensors"))
    state = load_file(file)
    first = sorted(state)[0]
    save_file({**state, first: state[first] + 1}, file)
    assert load(name, copy).id != encoder.id
    assert encoder.id.startswith(f"{name}-") and encoder.id.endswith("-v1")


@pytest.mark.parametrize("name", NAMES)
def test_resize_modes_do_what_their_names_say(name, weights):
    encoder = load(name, weights[name])
    size = 64 if name == "clip" else 32
    (wide,) = pictures((size // 2, size))  # no resampling below: its longer side is the input's
    quarter = size // 4
    boxed = np.pad(wide, ((quarter, quarter), (0, 0), (0, 0)))
    np.testing.assert_allclose(
        encoder.encode_images([wide], "letterbox"), encoder.encode_images([boxed], "stretch"), **CLOSE
    )
    middle = wide[:, quarter : size - quarter]
    np.testing.assert_allclose(
        encoder.encode_images([wide], "center_crop"), encoder.encode_images([middle], "stretch"), **CLOSE
    )
    modes = [encoder.encode_images([middle], mode) for mode in (*encoder.resize_modes, "")]
    assert all(np.array_equal(modes[0], other) for other in modes)  # a square picture agrees in all
    with pytest.raises(UserError, match=f"Unknown resize mode 'crop'. .*encoder '{name}'"):
        encoder.encode_images([wide], "crop")
    with pytest.raises(UserError, match="pictures that are not square"):
        encoder.encode_images([wide], "")


@pytest.mark.parametrize(("name", "network"), [("dinov2", VIT), ("convnextv2", CONVNEXT)])
def test_timm_features_are_the_pre_logits(name, network, weights):
    reference = timm.create_model(network[0], num_classes=0, **network[1]).eval()
    reference.load_state_dict(load_file(weights[name] / "model.safetensors"))
    (picture,) = pictures((32, 32))
    with torch.no_grad():
        expected = reference(normalised(picture))  # without a classifier, the forward pass ends at the pre-logits
    np.testing.assert_allclose(load(name, weights[name]).encode_images([picture], "stretch"), expected, **CLOSE)


def test_logits_are_the_classifier_s_answer(tmp_path):
    """As the authors' code has them; the encoder of the paper's pre-logits takes the same file."""
    architecture, arguments = CONVNEXT
    reference = timm.create_model(architecture, num_classes=1000, **arguments).eval()
    save(tmp_path / "weights", reference.state_dict(), {"architecture": architecture, "model_args": arguments})
    (picture,) = pictures((32, 32))
    with torch.no_grad():
        expected = reference(normalised(picture))
    found = load("convnextv2_logits", tmp_path / "weights").encode_images([picture], "stretch")
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert load("convnextv2", tmp_path / "weights").encode_images([picture], "stretch").shape == (1, 16)


def test_scale_gives_convolutional_encoders_the_whole_rectangle(weights):
    reference = timm.create_model(CONVNEXT[0], num_classes=0, **CONVNEXT[1]).eval()
    reference.load_state_dict(load_file(weights["convnextv2"] / "model.safetensors"))
    (picture,) = pictures((32, 48))
    with torch.no_grad():
        expected = reference(normalised(picture))
    found = load("convnextv2", weights["convnextv2"]).encode_images([picture], "scale")
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_published_files_lose_their_classifier_and_fit_their_positions(tmp_path):
    architecture, arguments = VIT
    trained = timm.create_model(architecture, num_classes=7, **{**arguments, "img_size": 64})
    torch.nn.init.normal_(trained.pos_embed)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    published = Published(architecture, 32, "nobody/nothing", arguments)
    encoder = timm_encoder("dinov2", published, tmp_path / "w.safetensors", CPU, ("stretch",))

    reference = timm.create_model(architecture, num_classes=0, **arguments).eval()
    state = checkpoint_filter_fn(trained.state_dict(), reference, interpolation="bicubic", antialias=True)
    reference.load_state_dict({key: value for key, value in state.items() if not key.startswith("head.")})
    (picture,) = pictures((32, 32))
    values = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (_pictures.IMAGENET_MEAN, _pictures.IMAGENET_STD))
    with torch.no_grad():
        expected = reference((values - mean) / std)
    np.testing.assert_allclose(encoder.encode_images([picture], "stretch"), expected, **CLOSE)


def style_loss(state: dict[str, torch.Tensor], first: torch.Tensor, second: torch.Tensor) -> float:
    """The sum over layers of squared Frobenius norms of Gram differences (LyCORIS D.4), layer by layer."""
    layers = make_layers(LAYERS)
    layers.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    convolutions = [index for index, layer in enumerate(layers) if isinstance(layer, torch.nn.Conv2d)]
    starts = [index for index in convolutions if index - 1 not in [other + 1 for other in convolutions]]
    loss = 0.0
    with torch.no_grad():
        for start in starts:
            grams = []
            for picture in (first, second):
                maps = layers[: start + 1](picture)[0]
                # The paper's runs: conv5_1 before its ReLU, the others after.
                maps = maps if start == starts[-1] else maps.relu()
                channels, height, width = maps.shape
                flat = maps.reshape(channels, height * width)
                grams.append(flat @ flat.T / (channels * height * width))
            loss += float(((grams[0] - grams[1]) ** 2).sum())
    return loss


def test_distance_of_gram_vectors_is_the_style_loss(weights):
    encoder = load("vgg19", weights["vgg19"])
    pair = pictures((32, 32), (48, 32))  # of different shapes: Gram matrices do not know the shape
    vectors = encoder.encode_images(pair, "scale").astype(np.float64)
    assert vectors.shape == (2, 4**2 + 6**2 + 8**2 + 8**2 + 10**2)
    expected = style_loss(load_file(weights["vgg19"] / "model.safetensors"), *map(normalised, pair))
    assert ((vectors[0] - vectors[1]) ** 2).sum() == pytest.approx(expected, rel=1e-4)  # float32 against float64 sums


def test_half_precision_is_that_of_the_authors(weights):
    """Convolutions and Gram matrices in float16, of maps that are scaled before they are multiplied."""
    (picture,) = pictures((48, 32))
    state = load_file(weights["vgg19"] / "model.safetensors")
    layers = make_layers(LAYERS)
    layers.load_state_dict({key.removeprefix("features."): value for key, value in state.items()})
    expected, batch, kept = [], normalised(picture), []
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        for index, layer in enumerate(layers[:15]):  # up to the last first convolution of a stage
            batch = layer(batch)
            if index in (0, 3, 6, 11, 14):  # the ReLU after it works in place
                kept.append(batch)
        for maps in kept:
            scaled = maps.flatten(2) / np.sqrt(maps[0].numel())
            expected.append((scaled @ scaled.transpose(1, 2)).flatten())
    (half,) = load("vgg19_half", weights["vgg19"]).encode_images([picture], "scale")
    (full,) = load("vgg19", weights["vgg19"]).encode_images([picture], "scale")
    assert torch.cat(expected).dtype == torch.float16
    assert np.array_equal(half, torch.cat(expected).float().numpy())
    assert not np.array_equal(half, full) and np.allclose(half, full, rtol=0.02, atol=1e-3)


def artifact_scorer(folder: Path, clip: Path) -> Path:
    """A folder as the encoder wants it: a tiny vision transformer, and a scorer of random numbers."""
    shutil.copytree(clip, folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    config["model_cfg"]["vision_cfg"] = vision
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    words = ("embed_dim", "text_cfg", "quick_gelu")
    network = open_clip.CLIP(
        vision_cfg=vision, **{key: config["model_cfg"][key] for key in words if key in config["model_cfg"]}
    )
    save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    sides = [vision["width"], 6, 5, 4, 3, 1]
    layers = {place: torch.nn.Linear(*sides[n : n + 2]) for n, place in enumerate((0, 2, 4, 6, 7))}
    state = {
        f"layers.{place}.{key}": value for place, layer in layers.items() for key, value in layer.state_dict().items()
    }
    torch.save(state, folder / "aesthetics_scorer_artifacts_openclip_vit_l_14.pth")
    return folder


def test_artifact_score_is_five_less_what_the_scorer_says(weights, tmp_path):
    """LyCORIS H.2: pooled features before the projection, normalised, through linear layers without activations."""
    folder = artifact_scorer(tmp_path / "scorer", weights["clip"])
    state = torch.load(folder / "aesthetics_scorer_artifacts_openclip_vit_l_14.pth")
    tower = open_clip.create_model(f"local-dir:{folder}").visual
    (picture,) = pictures((40, 24))
    size = tower.image_size[0] if isinstance(tower.image_size, tuple) else tower.image_size
    values = torch.from_numpy(lorabench.images.resize(picture, size, "letterbox")).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        projection, tower.proj = tower.proj, None
        x = tower((values - 0.5) / 0.5)
        x = x / x.norm(dim=-1, keepdim=True)
        for place in (0, 2, 4, 6, 7):
            x = x @ state[f"layers.{place}.weight"].T + state[f"layers.{place}.bias"]
    found = load("artifacts", folder).encode_images([picture], "letterbox")
    np.testing.assert_allclose(found, 5 - x.numpy(), **CLOSE)
    assert projection is not None


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "does not exist; it is of"),
        ({"layers.0.weight": torch.zeros(2, 2)}, "is no artifact scorer"),
        (b"no pickle", "is no artifact scorer"),
    ],
)
def test_an_artifact_scorer_that_is_none_is_named(weights, tmp_path, state, words):
    folder = artifact_scorer(tmp_path / "scorer", weights["clip"])
    file = folder / "aesthetics_scorer_artifacts_openclip_vit_l_14.pth"
    file.unlink()
    if isinstance(state, bytes):
        file.write_bytes(state)
    elif state:
        torch.save(state, file)
    with pytest.raises(UserError, match=words):
        load("artifacts", folder)
    with pytest.raises(UserError, match="needs a folder of weights"):
        load("artifacts", None)


def test_full_size_vgg19_taps_the_layers_of_the_paper(tmp_path):
    with torch.device("meta"):
        layers = torchvision_vgg19().features[:29]  # what the paper's code runs: up to conv5_1, ReLUs in place
    generator = torch.Generator().manual_seed(0)
    state = {
        f"features.{key}": torch.randn(value.shape, generator=generator) * (0.03 if value.ndim == 4 else 0.1)
        for key, value in layers.state_dict().items()
    }
    layers.load_state_dict({key.removeprefix("features."): value for key, value in state.items()}, assign=True)
    save_file({**state, "classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg19.safetensors")
    (picture,) = pictures((224, 224))
    values = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (_pictures.IMAGENET_MEAN, _pictures.IMAGENET_STD))
    kept, grams = [], []
    with torch.no_grad():
        batch = (values - mean) / std
        for index, layer in enumerate(layers):
            batch = layer(batch)
            if index in (0, 5, 10, 19, 28):
                kept.append(batch)  # the ReLU that follows changes it in place
        for maps in kept:
            flat = maps[0].flatten(1)
            grams.append((flat @ flat.T / flat.numel()).flatten())
    found = load("vgg19", tmp_path / "vgg19.safetensors").encode_images([picture], "scale")
    np.testing.assert_allclose(found[0], torch.cat(grams), rtol=1e-3, atol=1e-4 * float(torch.cat(grams).abs().max()))


def test_clip_pictures_and_texts_are_open_clips(weights):
    encoder = load("clip", weights["clip"])
    reference, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{weights['clip']}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{weights['clip']}")
    texts = ["a red robot on the beach", "a dog"] * 20
    (picture,) = pictures((64, 64))
    with torch.no_grad():
        text = reference.eval().encode_text(tokenizer(texts))
        image = reference.encode_image(preprocess(Image.fromarray(picture))[None])
    np.testing.assert_allclose(encoder.encode_texts(texts), text, **CLOSE)
    np.testing.assert_allclose(encoder.encode_images([picture], "stretch"), image, **CLOSE)
    assert np.abs(text[0] - text[1]).max() > 1e-3


@pytest.mark.parametrize("name", ["convnextv2", "dinov2", "vgg19"])
def test_only_clip_reads_texts(name, weights):
    assert components.find("encoders", "clip").reads_text and not components.find("encoders", name).reads_text
    with pytest.raises(NotImplementedError, match=f"'{name}' reads no texts"):
        load(name, weights[name]).encode_texts(["a dog"])


@pytest.mark.parametrize("name", NAMES)
def test_absent_published_weights_are_named(name, monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    with pytest.raises(UserError, match=rf"needs the published weights (timm|laion)/.*\[encoders.{name}\] weights"):
        load(name, None)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_weights_are_refused_in_a_sentence(name, weights, tmp_path):
    (tmp_path / "pickle.pt").write_bytes(b"\x80\x04")
    (tmp_path / "broken.safetensors").write_bytes(b"not safetensors")
    save_file({"features.0.weight": torch.zeros(2), "other": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "empty").mkdir()
    for path, sentence in (
        ("absent.safetensors", "do not exist"),
        ("pickle.pt", "are not a .safetensors file; pickles can run code"),
        ("broken.safetensors", "cannot be read"),
        ("other.safetensors", "do not fit: .* is missing; .* and [0-9]+ more"),
        ("empty", "(has no config.json|do not exist)"),
    ):
        with pytest.raises(UserError, match=f"Encoder '{name}': weights.*{sentence}"):
            load(name, tmp_path / path)


def test_wrong_folders_are_refused_in_a_sentence(weights, tmp_path):
    folder = shutil.copytree(weights["dinov2"], tmp_path / "vit")
    config = json.loads((folder / "config.json").read_text())

    def error(**changes) -> str:
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        with pytest.raises(UserError) as caught:
            load("dinov2", folder)
        return str(caught.value)

    assert "timm cannot make 'vit_minuscule'" in error(architecture="vit_minuscule")
    assert "'image_size': input should be a valid integer, got 'large'" in error(image_size="large")
    assert "patch_embed.proj.weight is [16, 3, 8, 8] instead of [8, 3, 8, 8]" in error(
        model_args={**VIT[1], "embed_dim": 8}
    )

    folder = shutil.copytree(weights["vgg19"], tmp_path / "vgg")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('8, "M", 10', "8, 10"))
    with pytest.raises(UserError, match="must have 5 stages"):
        load("vgg19", folder)


def test_pixels_are_the_small_picture():
    picture = np.random.default_rng(0).integers(0, 255, (96, 64, 3), np.uint8)
    encoder = load("pixels", None)
    expected = np.asarray(Image.fromarray(picture[16:80]).resize((64, 64), Image.Resampling.BICUBIC)) / 255
    np.testing.assert_allclose(encoder.encode_images([picture], "center_crop")[0], expected.ravel(), atol=1e-6)
    with pytest.raises(UserError, match="has no weights"):
        load("pixels", Path("somewhere"))


@pytest.mark.parametrize("name", ["liqe", "maniqa"])
def test_quality_is_what_pyiqa_answers(name, monkeypatch, tmp_path):
    """A stand-in with pyiqa's interface, whose weights cannot be had here, answers with brightness and width."""
    asked = []

    def create_metric(metric_name, device=None, **options):
        asked.append((metric_name, options))
        return lambda batch: batch.mean(dim=(1, 2, 3)) + batch.shape[3]

    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=create_metric))
    file = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(2)}, file)
    pictures = [np.full((20, width, 3), 51, np.uint8) for width in (16, 24)]
    for path, options in ((None, {}), (file, {"pretrained_model_path": str(file)})):
        encoder = load(name, path)
        assert asked[-1] == (name, options) and encoder.id.startswith(f"{name}-pyiqa-")
        np.testing.assert_allclose(encoder.encode_images(pictures, ""), [[16.2], [24.2]], rtol=1e-6)
    assert load(name, None).id != load(name, file).id
    with pytest.raises(UserError, match="do not exist"):
        load(name, tmp_path / "nowhere.pth")
    torch.save({"weight": SimpleNamespace()}, file)
    with pytest.raises(UserError, match="weights.pth is no file of tensors alone"):
        load(name, file)


def test_quality_without_pyiqa_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(UserError, match="pip install pyiqa"):
        load("liqe", None)
