import errno
import os
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from benchmark.data import facts, load, prepare
from benchmark.errors import UserError

PETS = {"path": "pets", "size": 4, "validation": 2}


@pytest.fixture
def photographs(tmp_path):
    """Images of two sizes, each of one colour, in one folder per class."""
    for split, samples in (("train", 10), ("val", 4)):
        for label, name in enumerate(("cats", "dogs")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(samples):
                size = (20, 30) if index % 2 else (9, 5)
                Image.new("RGB", size, (10 * index, 100 * label, 7)).save(folder / f"{index}.png")
    return tmp_path / "pets"


@pytest.fixture
def prepared(tmp_path, photographs):
    """Prepares the folder after `name` was added to the test images of cats; gives that image, [3, 4, 4]."""

    def prepare_with(image, name, **options):
        for old in (photographs / "val" / "cats").glob("added*"):
            old.unlink()
        image.save(photographs / "val" / "cats" / name, **options)
        parameters = {**PETS, "path": str(photographs.rename(tmp_path / f"pets-{name}"))}
        (tmp_path / f"pets-{name}").rename(photographs)  # a new name each time, so it is prepared each time
        (tmp_path / f"pets-{name}").symlink_to(photographs)
        prepare("image_folder", parameters, tmp_path)
        return load("image_folder", parameters, tmp_path).test.images[4].numpy()

    return prepare_with


def names(error):
    """The files that an error lists."""
    return [line.split(":")[0].rsplit("/", 2)[-2:] for line in str(error.value).splitlines() if line.startswith("  /")]


def test_images_are_scaled_and_cut_to_squares(tmp_path, photographs):
    parameters = {"path": "pets", "size": 8, "validation": 4}
    prepare("image_folder", parameters, tmp_path)
    dataset = load("image_folder", parameters, tmp_path)
    assert dataset.classes == ("cats", "dogs")
    assert dataset.image_shape == (3, 8, 8)
    assert [len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)] == [16, 4, 8]
    assert (dataset.test.images == dataset.test.images[:, :, :1, :1]).all()
    assert (dataset.test.images[:, 1, 0, 0] == 100 * dataset.test.labels).all()
    assert dataset.test.images[:4, 0, 0, 0].tolist() == [0, 10, 20, 30]


@pytest.mark.parametrize("change", ["content", "name", "removed"])
def test_a_folder_that_has_changed_is_prepared_again(tmp_path, photographs, change):
    folder = prepare("image_folder", PETS, tmp_path)
    before = load("image_folder", PETS, tmp_path).fingerprint
    written = (folder / "meta.json").stat().st_mtime_ns
    prepare("image_folder", PETS, tmp_path)
    assert (folder / "meta.json").stat().st_mtime_ns == written
    image = photographs / "val" / "dogs" / "3.png"
    match change:
        case "content":
            Image.new("RGB", (20, 30), (255, 255, 255)).save(image)
        case "name":
            image.rename(image.with_name("0a.png"))
        case "removed":
            image.unlink()
    prepare("image_folder", PETS, tmp_path)
    assert load("image_folder", PETS, tmp_path).fingerprint != before


def test_prepared_images_outlive_their_folder(tmp_path, photographs):
    folder = prepare("image_folder", PETS, tmp_path)
    shutil.rmtree(photographs)
    assert prepare("image_folder", PETS, tmp_path) == folder
    assert len(load("image_folder", PETS, tmp_path).test.labels) == 8


def test_images_of_the_right_size_are_kept_as_they_are(prepared):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    assert (prepared(Image.fromarray(pixels), "added.png") == pixels.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("name", ["added.png", "added.tif"])
@pytest.mark.parametrize(("bits", "white"), [(16, 65_535), (12, 4095), (8, 255)])
def test_deep_grey_is_scaled_by_the_bits_that_the_set_needs(prepared, photographs, name, bits, white):
    values = np.linspace(0, white, 16).round().astype(np.uint16).reshape(4, 4)
    half = (values // 2).astype(np.uint16)  # another image of the set, darker: one scale for both
    Image.fromarray(half).save(photographs / "val" / "dogs" / "0.png")
    image = prepared(Image.fromarray(values), name)
    assert (image == np.rint(values * (255 / white)).astype(np.uint8)).all()
    darker = load("image_folder", {**PETS, "path": str(photographs.parent / f"pets-{name}")}, photographs.parent)
    assert (darker.test.images[5, 0] == np.rint(half * (255 / white)).astype(np.uint8)).all()


def test_colour_of_16_bits_keeps_its_upper_byte(prepared, tmp_path):
    # Pillow writes no such files, so here is one by hand: a PNG of one colour.
    import struct
    import zlib

    def block(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + struct.pack(">HHH", 0x1234, 0xFFFF, 0x8000) * 4
    png = b"\x89PNG\r\n\x1a\n" + block(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0))
    png += block(b"IDAT", zlib.compress(row * 4)) + block(b"IEND", b"")

    class Written:
        def save(self, path):
            path.write_bytes(png)

    assert (prepared(Written(), "added.png") == np.array([0x12, 0xFF, 0x80])[:, None, None]).all()


def test_transparent_pixels_are_white_whatever_colour_they_hide(prepared):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[1, 2] = (200, 100, 0, 255)
    pixels[0, 0] = (0, 0, 0, 128)
    image = prepared(Image.fromarray(pixels), "added.png")
    assert image[:, 1, 2].tolist() == [200, 100, 0]
    assert image[:, 3, 3].tolist() == [255, 255, 255]
    assert image[:, 0, 0].tolist() == pytest.approx([127] * 3, abs=1)


def test_a_palette_is_looked_up_also_where_one_colour_is_transparent(prepared):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30, 0, 0, 255])
    image.putpixel((0, 0), 2)
    assert (prepared(image, "added.png")[:, 1, 1] == (10, 200, 30)).all()
    transparent = prepared(image, "added2.png", transparency=2)
    assert transparent[:, 0, 0].tolist() == [255, 255, 255]
    assert transparent[:, 1, 1].tolist() == [10, 200, 30]


def test_cmyk_and_one_bit_become_rgb(prepared):
    red = prepared(Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "added.jpg", quality=100)
    assert red[:, 1, 1].tolist() == pytest.approx([255, 0, 0], abs=3)
    one_bit = Image.new("1", (4, 4), 0)
    one_bit.putpixel((3, 0), 1)
    assert (prepared(one_bit, "added.png")[:, 0] == [0, 0, 0, 255]).all()


def test_the_orientation_that_a_camera_noted_is_applied(prepared):
    image = Image.new("RGB", (4, 4))
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    turned = prepared(image, "added.png", exif=exif)
    assert turned[:, 0, 3].tolist() == [255, 0, 0]
    assert turned[:, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((4, 4), 0.5, np.float32), "are of Pillow's mode 'F'; save it with 8 or 16 bits"),
        (np.full((4, 4), -3, np.int32), "range from -3 to -3"),
        (np.full((4, 4), 70_000, np.int32), "range from 70000 to 70000"),
    ],
)
def test_pixels_without_an_agreed_white_are_refused(prepared, pixels, message):
    with pytest.raises(UserError, match=rf"cats/added\.tif: its pixels {message}") as error:
        prepared(Image.fromarray(pixels), "added.tif")
    assert "delete" not in str(error.value)


def test_all_bad_images_are_listed_in_one_go(tmp_path, photographs):
    (photographs / "train" / "dogs" / "3.png").write_bytes(b"no image")
    (photographs / "val" / "cats" / "1.png").write_bytes(b"")
    with pytest.raises(UserError, match="These images cannot be used") as error:
        prepare("image_folder", PETS, tmp_path)
    assert names(error) == [["dogs", "3.png"], ["cats", "1.png"]]
    assert not list((tmp_path / "prepared").glob("image_folder*"))


def test_images_that_only_decoding_shows_to_be_damaged_are_listed_too(tmp_path, photographs):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    for path in (photographs / "train" / "cats" / "5.jpg", photographs / "val" / "dogs" / "2.jpg"):
        noise.save(path)
        path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(UserError, match=r"it is damaged \(image file is truncated") as error:
        prepare("image_folder", PETS, tmp_path)
    assert names(error) == [["cats", "5.jpg"], ["dogs", "2.jpg"]]
    assert not list((tmp_path / "prepared").glob("image_folder*"))


def test_a_long_list_of_bad_images_is_cut(tmp_path, photographs):
    for index in range(30):
        (photographs / "train" / "dogs" / f"bad{index}.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="only the first 20 are listed") as error:
        prepare("image_folder", PETS, tmp_path)
    assert len(names(error)) == 20


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_an_image_that_cannot_be_read_is_never_to_be_deleted(tmp_path, photographs, monkeypatch, number):
    opened = Image.open

    def refuse(path, *arguments, **options):
        if str(path).endswith("dogs/3.png"):
            raise OSError(number, os.strerror(number), path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(UserError, match=rf"dogs/3\.png: it cannot be read \({os.strerror(number)}\)") as error:
        prepare("image_folder", PETS, tmp_path)
    assert not any(word in str(error.value) for word in ("delete", "damaged", "replace"))


@pytest.mark.parametrize("times", [1.5, 3])
def test_an_image_bomb_is_named_before_anything_is_decoded(tmp_path, photographs, monkeypatch, times):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.new("1", (100, int(10 * times))).save(photographs / "val" / "dogs" / "z.png")
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("decoded"))
    with pytest.raises(UserError, match=r"dogs/z\.png: it has more than 1,000 pixels; scale it down"):
        prepare("image_folder", PETS, tmp_path)


def test_a_class_folder_whose_name_is_not_utf8_is_named(tmp_path, photographs):
    os.rename(photographs / "train" / "dogs", os.fsencode(photographs) + b"/train/d\xf6gs")  # noqa: PTH104
    with pytest.raises(UserError, match=r"class folder b'd\\xf6gs' .* is not UTF-8; rename it"):
        prepare("image_folder", PETS, tmp_path)


def test_hidden_files_and_folders_are_no_images_and_no_classes(tmp_path, photographs):
    (photographs / "train" / ".ipynb_checkpoints").mkdir()
    (photographs / "train" / "cats" / "._1.png").write_bytes(b"resource fork")
    described = facts("image_folder", PETS, tmp_path)
    assert described.classes == ("cats", "dogs")
    assert (described.train, described.validation) == (18, 2)
    prepare("image_folder", PETS, tmp_path)


def test_a_folder_that_is_not_there_says_what_should_be(tmp_path):
    with pytest.raises(UserError, match=r"pets/train does not hold images.*train/<class>/"):
        prepare("image_folder", PETS, tmp_path)


def test_splits_with_different_classes_are_refused(tmp_path, photographs):
    (photographs / "val" / "dogs").rename(photographs / "val" / "wolves")
    with pytest.raises(UserError, match="dogs, wolves"):
        prepare("image_folder", PETS, tmp_path)


def test_one_class_is_too_few(tmp_path, photographs):
    for split in ("train", "val"):
        (photographs / split / "dogs").rename(tmp_path / f"{split}-dogs")
    with pytest.raises(UserError, match=r"path: .*train holds only the class 'cats'"):
        prepare("image_folder", PETS, tmp_path)


@pytest.mark.parametrize("size", [0, 1, -8])
def test_images_without_extent_are_refused(tmp_path, photographs, size):
    with pytest.raises(UserError, match=f"size: {size} pixels are no image"):
        prepare("image_folder", {**PETS, "size": size}, tmp_path)
