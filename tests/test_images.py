"""Pictures: what is read is what was drawn, and each resize mode keeps what it promises."""

import io

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms.functional import InterpolationMode, to_pil_image
from torchvision.transforms.functional import resize as torchvision_resize

from lorabench import images
from lorabench.errors import UserError


def wide() -> np.ndarray:
    """60 x 120: left third red, middle green, right blue."""
    picture = np.zeros((60, 120, 3), np.uint8)
    for place in range(3):
        picture[:, 40 * place : 40 * place + 40, place] = 255
    return picture


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_write_then_read_is_identity_and_bytes_repeat(tmp_path):
    picture = noise(31, 47)
    images.write(tmp_path / "new" / "a.png", picture)
    images.write(tmp_path / "b.png", images.read(tmp_path / "new" / "a.png"))
    assert np.array_equal(images.read(tmp_path / "b.png"), picture)
    assert (tmp_path / "new" / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to the right to see it upright"
    Image.fromarray(wide()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(images.read(tmp_path / "a.png"), np.rot90(wide(), -1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(tmp_path, mode):
    picture = Image.new("RGBA", (4, 2), (0, 0, 0, 0)).convert(mode)
    picture.save(tmp_path / "a.png", **({"transparency": picture.getpixel((0, 0))} if mode == "P" else {}))
    assert (images.read(tmp_path / "a.png") == 255).all()


def test_half_transparency_blends(tmp_path):
    Image.new("RGBA", (1, 1), (0, 0, 0, 127)).save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png").ravel().tolist() == [128, 128, 128]


def test_sixteen_bits_keep_the_whole_range(tmp_path):
    Image.fromarray(np.array([[0, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert images.read(tmp_path / "a.png")[0, :, 0].tolist() == [0, 127, 255]


def test_broken_files_are_named(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    images.write(tmp_path / "whole.png", noise(64, 64))
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    for name in ("text.png", "cut.png"):
        with pytest.raises(UserError, match=rf"{name} cannot be read"):
            images.read(tmp_path / name)
    with pytest.raises(UserError, match="absent.png does not exist"):
        images.read(tmp_path / "absent.png")


def test_thumbnail_shrinks_but_never_enlarges():
    assert Image.open(io.BytesIO(images.thumbnail(wide(), 30))).size == (30, 15)
    assert Image.open(io.BytesIO(images.thumbnail(wide(), 500))).size == (120, 60)


def test_letterbox_keeps_everything_between_black_bars():
    boxed = images.resize(wide(), 40, "letterbox")
    assert boxed.shape == (40, 40, 3)
    assert not boxed[:10].any() and not boxed[30:].any()
    assert (boxed[10:30].max(axis=2) > 0).all()
    assert boxed[20, 2].tolist() == [255, 0, 0] and boxed[20, 37].tolist() == [0, 0, 255]


def test_center_crop_keeps_the_middle_square():
    assert np.array_equal(images.resize(wide(), 60, "center_crop"), wide()[:, 30:90])


def test_scale_keeps_the_aspect_ratio_and_stretch_does_not():
    assert images.resize(wide(), 30, "scale").shape == (30, 60, 3)
    stretched = images.resize(wide(), 30, "stretch")
    assert stretched.shape == (30, 30, 3)
    assert [int(stretched[15, column].argmax()) for column in (2, 15, 27)] == [0, 1, 2]


def test_resize_is_the_bicubic_of_the_encoders_own_preprocessing():
    # torchvision on PIL images is what timm and open_clip use; the same filter gives the same bytes.
    expected = torchvision_resize(to_pil_image(noise(50, 90)), [24, 24], InterpolationMode.BICUBIC)
    assert np.array_equal(images.resize(noise(50, 90), 24, "stretch"), np.asarray(expected))


@pytest.mark.parametrize("mode", ["letterbox", "center_crop", "scale", "stretch"])
def test_square_pictures_agree_in_all_modes(mode):
    assert np.array_equal(images.resize(noise(33, 33), 20, mode), images.resize(noise(33, 33), 20, "stretch"))


def test_unknown_mode_and_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="Unknown resize mode 'crop'. Available: stretch, letterbox"):
        images.resize(wide(), 8, "crop")
    with pytest.raises(ValueError, match=r"uint8 \[h, w, 3\], got float64"):
        images.resize(wide() / 255, 8, "scale")


@pytest.mark.parametrize("size", [(64, 64), (48, 112), (112, 48), (200, 10)])
def test_fit_covers_the_bucket(size):
    width, height = size
    fitted = images.fit(np.full((60, 120, 3), 200, np.uint8), width, height)
    assert fitted.shape == (height, width, 3)
    assert (fitted == 200).all()  # no bars


def test_fit_cuts_the_longer_side_equally():
    assert np.array_equal(images.fit(wide(), 60, 60), wide()[:, 30:90])


def test_fit_is_opencvs_area_filter_up_and_down():
    """First channel of cv2.resize(..., INTER_AREA) of 9 x 6 pixels, cut in the middle: a level for its rounding."""
    pattern = np.add.outer(np.arange(6) * 37, np.arange(9) * 23)[..., None] * np.array([1, 3, 7]) % 256
    smaller = [
        [20, 51, 89, 120, 158, 189], [69, 100, 138, 169, 207, 124],
        [131, 162, 200, 174, 127, 44], [180, 211, 192, 52, 62, 93],
    ]  # fmt: skip
    larger = [
        [0, 15, 31, 46, 69, 84, 100, 115, 138, 153, 169, 184],
        [25, 40, 55, 71, 94, 109, 124, 140, 163, 178, 193, 209],
        [49, 65, 80, 95, 118, 134, 149, 164, 187, 203, 189, 148],
        [74, 89, 105, 120, 143, 158, 174, 189, 212, 227, 157, 2],
        [111, 126, 142, 157, 180, 195, 211, 226, 249, 94, 24, 39],
        [136, 151, 166, 182, 205, 220, 178, 80, 103, 61, 48, 64],
        [160, 176, 191, 206, 229, 188, 118, 19, 42, 57, 73, 88],
        [185, 200, 216, 231, 254, 99, 29, 44, 67, 82, 98, 113],
    ]  # fmt: skip
    for (width, height), expected in [((6, 4), smaller), ((12, 8), larger), ((4, 4), np.array(smaller)[:, 1:5])]:
        fitted = images.fit(pattern.astype(np.uint8), width, height)[..., 0]
        assert np.abs(fitted.astype(int) - expected).max() <= 1


def test_fit_leaves_pictures_of_the_right_size_alone():
    assert np.array_equal(images.fit(noise(64, 64), 64, 64), noise(64, 64))
