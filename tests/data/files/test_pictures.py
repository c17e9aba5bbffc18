"""Pictures in files: what is refused, and what a model sees of the rest."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from expunge.core.errors import DataError, Problem
from expunge.core.types import Picture
from expunge.data.files import pictures
from expunge.data.files.album import Album
from expunge.data.files.pictures import FilePicture, Unreadable, content_key, decode, find_inside, look_of


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(size=(64, 48), seed=0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def held(path: Path, name: str = "p.png", data: bytes | None = None) -> FilePicture:
    (path / name).write_bytes(saved(noise()) if data is None else data)
    return FilePicture(name, path, content_key((path / name).read_bytes()))


# ---------------------------------------------------------------------------------------------- opening


def test_a_file_picture_is_a_picture(tmp_path):
    picture = held(tmp_path)
    assert isinstance(picture, Picture)
    shown = picture.open(32)
    assert shown.mode == "RGB" and shown.size == (32, 32)
    assert shown.tobytes() == noise().resize((32, 32), Image.Resampling.BICUBIC).tobytes()


def test_opening_twice_gives_equal_but_separate_pictures(tmp_path):
    picture = held(tmp_path)
    before = picture.open(32).tobytes()
    picture.open(32).paste("black", (0, 0, 32, 32))
    assert picture.open(32).tobytes() == before


def test_equal_content_under_two_names_has_one_key(tmp_path):
    one, two = held(tmp_path, "a.png"), held(tmp_path, "b.png")
    assert one.key == two.key and len(one.key) == 64


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_every_allowed_format_opens(kind):
    assert decode(saved(noise(), kind)).size == (64, 48)


def test_a_changed_file_is_noticed(tmp_path):
    picture = held(tmp_path, data=saved(noise(seed=11)))
    (tmp_path / "p.png").write_bytes(saved(noise(seed=12)))
    with pytest.raises(DataError, match="has changed since it was checked"):
        picture.open(8)


def test_a_vanished_file_names_itself(tmp_path):
    picture = held(tmp_path, data=saved(noise(seed=13)))
    (tmp_path / "p.png").unlink()
    with pytest.raises(DataError, match=r"p\.png.*does not exist"):
        picture.open(8)


def test_the_shelf_keeps_what_fits_and_no_more():
    shelf = pictures._Shelf(room=3 * 8 * 8)
    first, second = noise((8, 8)), noise((8, 8), 1)
    shelf.put(("a", 8), first)
    shelf.put(("b", 8), second)
    assert shelf.get(("a", 8)) is first and shelf.get(("b", 8)) is None


# ---------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("kind", pictures.FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.9])
def test_a_truncated_picture_is_refused_at_any_length(kind, share):
    data = saved(noise((128, 128)), kind)
    with pytest.raises(Unreadable, match=r"cannot be decoded|no picture in"):
        decode(data[: int(len(data) * share)])


def test_a_flipped_bit_in_a_png_is_refused():
    data = bytearray(saved(noise()))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(Unreadable, match="cannot be decoded"):
        decode(bytes(data))


@pytest.mark.parametrize("side", [7_100, 10_000, 14_000, 60_000])  # ours, Pillow's warning, Pillow's error, far beyond
def test_an_absurd_size_is_refused_from_the_header(side, claim_png, monkeypatch):
    def never(*_):
        raise AssertionError("decoded before its size was checked")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(Unreadable, match="absurdly large"):
        decode(claim_png(side, side))


def test_a_file_of_too_many_bytes_is_not_even_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    path = tmp_path / "big.png"
    path.write_bytes(b"x" * 101)
    with pytest.raises(Unreadable, match="101 bytes"):
        pictures.read_bytes(path)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"<!DOCTYPE html><p>404", "a web page or XML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a web page or XML"),
        (b"hello", "something else"),
        (saved(noise(), "TIFF"), "something else"),
        (saved(noise(), "ICO"), "something else"),
        (b"%PDF-1.4 ...", "something else"),
    ],
)
def test_what_is_no_allowed_picture_is_refused(data, found):
    with pytest.raises(Unreadable, match=found):
        decode(data)


def test_loading_truncated_images_may_not_be_switched_on(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(Unreadable, match="LOAD_TRUNCATED_IMAGES"):
        decode(saved(noise()))


# ---------------------------------------------------------------------------------------------- modes


def test_orientation_is_applied_once():
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 20, 20))  # left half red
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    upright = decode(saved(image, "PNG", exif=exif))
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5)) == (255, 0, 0) and upright.getpixel((10, 35)) == (0, 0, 255)
    assert 0x0112 not in upright.getexif()


def test_transparency_is_laid_on_white():
    for image in (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), Image.new("LA", (4, 4), (0, 0))):
        assert decode(saved(image)).getpixel((1, 1)) == (255, 255, 255)
    half = decode(saved(Image.new("RGBA", (4, 4), (255, 0, 0, 128))))
    assert half.getpixel((0, 0)) == pytest.approx((255, 127, 127), abs=1)


def test_a_transparent_palette_entry_is_laid_on_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert decode(saved(image)).getpixel((0, 0)) == (10, 20, 30)
    assert decode(saved(image, transparency=1)).getpixel((0, 0)) == (255, 255, 255)
    assert decode(saved(image, "GIF", transparency=1)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    deep = np.array([[0, 128, 257, 25_700, 40_000, 65_535]], dtype=np.uint16)
    shown = np.asarray(decode(saved(Image.fromarray(deep))))
    assert shown.shape == (1, 6, 3)
    assert shown[0, :, 0].tolist() == [0, 0, 1, 100, 156, 255]


def test_grey_black_and_white_and_cmyk_become_rgb():
    assert decode(saved(Image.new("L", (4, 4), 77))).getpixel((0, 0)) == (77, 77, 77)
    assert decode(saved(Image.new("1", (4, 4), 1))).getpixel((0, 0)) == (255, 255, 255)
    cyan = decode(saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG"))
    assert cyan.mode == "RGB" and cyan.getpixel((4, 4)) == pytest.approx((0, 255, 255), abs=3)


def test_of_an_animation_the_first_frame_is_shown():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data).getpixel((3, 3)) == (255, 0, 0)


# ---------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "a/../../secret.png", "..\\secret.png", "/etc/passwd", "C:\\secret.png", "C:secret.png",
     "\\\\host\\share\\x.png", "", "  ", "a\0.png", "link.png", "folder/link.png", "x" * 5_000],
)  # fmt: skip
def test_a_path_may_not_leave_the_root(tmp_path, name):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(saved(noise()))
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").symlink_to(tmp_path)
    (tmp_path / "link.png").write_bytes(saved(noise()))
    with pytest.raises(Unreadable):
        find_inside(name, root)


def test_a_link_that_stays_inside_and_a_linked_root_are_fine(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.png").write_bytes(saved(noise()))
    (root / "b.png").symlink_to("a.png")
    (tmp_path / "alias").symlink_to(root)
    assert find_inside("b.png", tmp_path / "alias") == (root / "a.png").resolve()


def test_a_loop_of_links_a_folder_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "portrait.png").write_bytes(b"x")
    with pytest.raises(Unreadable):
        find_inside("one", tmp_path)
    with pytest.raises(Unreadable, match="is a folder"):
        find_inside("sub.png", tmp_path)
    with pytest.raises(Unreadable, match=r"does not exist.*Did you mean 'portrait\.png'"):
        find_inside("Portrait.PNG", tmp_path)


def test_a_missing_picture_is_likened_by_its_name_and_not_by_its_ending(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "ines3.jpg").write_bytes(b"x")
    with pytest.raises(Unreadable) as refused:
        find_inside("pictures/nope.jpg", tmp_path)  # both end in .jpg: that does not make them alike
    assert "Did you mean" not in refused.value.remedy
    with pytest.raises(Unreadable) as refused:
        find_inside("pictures/ines3.png", tmp_path)
    assert "Did you mean 'pictures/ines3.jpg'?" in refused.value.remedy  # as a line would name it


# ---------------------------------------------------------------------------------------------- looks


def test_looks_survive_resaving_and_tell_different_pictures_apart():
    picture = noise((8, 6)).resize((160, 120), Image.Resampling.BICUBIC)
    again = decode(saved(picture.resize((120, 90)), "JPEG", quality=70))
    other = noise((8, 6), seed=5).resize((160, 120), Image.Resampling.BICUBIC)
    assert (look_of(picture) ^ look_of(again)).bit_count() <= 4
    assert (look_of(picture) ^ look_of(other)).bit_count() > 12


def test_the_look_is_the_phash_of_imagehash():
    imagehash = pytest.importorskip("imagehash")
    for seed in range(5):
        image = noise((40, 30), seed)
        assert look_of(image) == int(str(imagehash.phash(image)), 16)


def test_what_is_wrong_with_a_picture_names_its_folder_in_full_and_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "own" / "pics").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(b"x")
    (tmp_path / "own" / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "own" / "pics" / "empty.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path / "own")
    for name in ("nosuch.jpg", "link.png", "/elsewhere/a.png"):
        with pytest.raises(Unreadable) as told:
            find_inside(name, Path("."))
        assert repr(str(tmp_path / "own")) in str(told.value) and "--images FOLDER" in str(told.value)
        assert ".. " not in str(told.value)
    problems: list[Problem] = []
    assert Album(Path(".")).take("pics/empty.jpg", "mine.jsonl:1", problems) is None
    assert problems[0].found == "the picture 'pics/empty.jpg' is an empty file"
