"""What phones, scanners and microscopes write becomes the picture that one sees."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

import mamlax

from .pictures import png, write_folder

SIDE = 8
RAMP = np.repeat(np.linspace(0, 1, SIDE)[None], SIDE, 0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAMLAX_CACHE", str(tmp_path / "cache"))


def read(tmp_path, files, **settings):
    """Pixels `[images, SIDE, SIDE, channels]` of images in one class."""
    names = {f"set/class/{name}": content for name, content in files.items()}
    root = write_folder(tmp_path, names) / "set"
    return mamlax.image_classes(root, **{"size": SIDE, "color": False, **settings}).examples


def encoded(image, suffix="png", **settings):
    file = io.BytesIO()
    image.save(file, suffix, **settings)
    return file.getvalue()


def gray(values, dtype, suffix="tiff"):
    return encoded(Image.fromarray(np.asarray(values).astype(dtype)), suffix)


def tiff(values, bits, *, order="<", white_is_zero=False):
    """A gray TIFF of so many bits, by its format: Pillow writes none of 12."""
    height, width = values.shape
    stored = values.astype(np.uint16)
    stored = stored.byteswap() if bits == 16 and order == "<" else stored
    packed = np.unpackbits(stored.astype(">u2").view(np.uint8).reshape(height, width, 2), axis=2)
    rows = packed[:, :, 16 - bits :].reshape(height, -1)
    content = np.packbits(rows, axis=1).tobytes()
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: 0 if white_is_zero else 1,
        273: 8,
        277: 1,
        278: height,
        279: len(content),
    }
    entries = b"".join(
        struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items()
    )
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return start + struct.pack(f"{order}I", 8 + len(content)) + content + directory


def assert_ramp(pixels, tolerance=1):
    np.testing.assert_allclose(np.asarray(pixels, int), np.round(255 * RAMP), atol=tolerance)


def pgm(most):
    words = " ".join(map(str, np.round(RAMP * most).astype(int).ravel()))
    return f"P2 {SIDE} {SIDE} {most} {words}".encode()


GRAY = {
    "8 bits": ("a.tif", gray(RAMP * 255, np.uint8), ""),
    "12 bits, which the file states": ("a.tif", tiff(RAMP * 4095, 12), ""),
    "16 bits": ("a.tif", gray(RAMP * 65535, np.uint16), "have 16 bits"),
    "16 bits of a png": ("a.png", gray(RAMP * 65535, np.uint16, "png"), "have 16 bits"),
    "16 bits, big endian": ("a.tif", tiff(RAMP * 65535, 16, order=">"), "have 16 bits"),
    "12 bits in 16": ("a.tif", gray(RAMP * 4095, np.uint16), "have 12 bits"),
    "12 bits in a png of 16": ("a.png", gray(RAMP * 4095, np.uint16, "png"), "have 12 bits"),
    "10 bits in 16": ("a.tif", gray(RAMP * 1023, np.uint16), "have 10 bits"),
    "8 bits in 16": ("a.tif", gray(RAMP * 255, np.uint16), ""),
    "8 bits in 32": ("a.tif", gray(RAMP * 255, np.int32), ""),
    "24 bits in 32": ("a.tif", gray(RAMP * (2**24 - 1), np.int32), "have 24 bits"),
    "floats to 1": ("a.tif", gray(RAMP, np.float32), "floats, which are taken to go from 0 to 1"),
    "floats to 255": ("a.tif", gray(RAMP * 255, np.float32), ""),
    "floats to 4095": ("a.tif", gray(RAMP * 4095, np.float32), "have 12 bits"),
    "floats from -1": ("a.tif", gray(2 * RAMP - 1, np.float32), "floats"),
    "values from -2048": ("a.tif", gray(4095 * RAMP - 2048, np.int32), "have 12 bits"),
    "white is zero": ("a.tif", tiff(65535 - RAMP * 65535, 16, white_is_zero=True), "have 16 bits"),
    "a graymap of 4000": ("a.pgm", pgm(4000), ""),
    "a graymap of 65535": ("a.pgm", pgm(65535), ""),
    "a graymap of 255": ("a.pgm", pgm(255), ""),
}


@pytest.mark.parametrize("kind", GRAY)
def test_gray_of_every_depth_goes_from_black_to_white(tmp_path, kind, capfd):
    name, content, said = GRAY[kind]
    pixels = read(tmp_path, {name: content})[0, :, :, 0]
    assert_ramp(pixels)
    line = capfd.readouterr().err
    assert said in line and line.count("\n") == 1
    if not said:
        assert line.endswith("set: 1 file, 1 read of 1 class\n")


def test_all_images_are_scaled_alike(tmp_path, capfd):
    """A dark image of 12 bits that needs 10 would otherwise be four times as bright as it is."""
    files = {
        "bright.tif": gray(RAMP * 4095, np.uint16),
        "dark.tif": gray(RAMP * 1000, np.uint16),
        "stated.tif": tiff(RAMP * 4095, 12),
        "eight.png": gray(RAMP * 255, np.uint8, "png"),
    }
    bright, dark, eight, stated = read(tmp_path, files)[..., 0]
    for one in (bright, eight, stated):
        assert_ramp(one)
    np.testing.assert_array_equal(dark, np.floor(np.floor(RAMP * 1000) / 16))
    assert "2 gray ones are taken to have 12 bits" in capfd.readouterr().err
    # said again where they come from the cache
    read(tmp_path, files)
    assert "2 gray ones are taken to have 12 bits" in capfd.readouterr().err


def test_images_without_values_below_zero_are_scaled_as_those_that_have_them(tmp_path, capfd):
    files = {
        "a.tif": gray(4095 * RAMP - 2048, np.int32),
        "b.tif": gray(np.full((SIDE, SIDE), 100), np.int32),
        "c.tif": gray(2 * RAMP - 1, np.float32),
        "d.tif": gray(np.full((SIDE, SIDE), 0.5), np.float32),
    }
    first, second, third, fourth = read(tmp_path, files)[..., 0]
    assert_ramp(first)
    assert (second == (2048 + 100) // 16).all()
    assert_ramp(third)
    assert (fourth == 191).all()
    said = capfd.readouterr().err
    assert "2 gray ones are taken to have 12 bits, one of them for the sign" in said
    assert "2 hold floats, which are taken to go from -1 to 1" in said


def test_bits_may_be_said(tmp_path, capfd):
    dark = {"dark.tif": gray(RAMP * 1000, np.uint16)}
    pixels = read(tmp_path, dark, gray_bits=12)[0, ..., 0]
    np.testing.assert_array_equal(pixels, np.floor(np.floor(RAMP * 1000) / 16))
    assert "have" not in capfd.readouterr().err
    with pytest.raises(mamlax.MamlaxError, match=r"b\.tif cannot.*16 bits, more than gray_bits=12"):
        read(tmp_path, {"b.tif": gray(RAMP * 60000, np.uint16)}, gray_bits=12)
    for wrong in (0, 7, 33):
        with pytest.raises(mamlax.MamlaxError, match="8 to 32"):
            read(tmp_path, dark, gray_bits=wrong)


def test_values_that_are_none_are_refused(tmp_path):
    values = np.where(RAMP == 1, np.nan, RAMP)
    with pytest.raises(mamlax.MamlaxError, match=r"a\.tif cannot be read.*not finite"):
        read(tmp_path, {"a.tif": gray(values, np.float32)})


DEEP = {"gray": (0, 1), "rgb": (2, 3), "gray with alpha": (4, 2), "rgb with alpha": (6, 4)}


def deep_png(kind, values, *others):
    """A PNG of 16 bits; opaque, where it has an alpha."""
    number, channels = DEEP[kind]
    pixels = np.repeat(np.round(values)[..., None], channels, 2).astype(">u2")
    if "alpha" in kind:
        pixels[..., -1] = 65535
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png_of(rows, 16, number, *others)


@pytest.mark.parametrize("kind", DEEP)
def test_a_png_of_sixteen_bits_goes_from_black_to_white(tmp_path, kind):
    assert_ramp(read(tmp_path, {"a.png": deep_png(kind, RAMP * 65535)})[0, :, :, 0])


@pytest.mark.parametrize("kind", [kind for kind in DEEP if kind != "gray"])
def test_colors_of_sixteen_bits_that_come_out_dark_are_said(tmp_path, kind, capfd):
    """Pillow gives of these the upper eight bits alone."""
    for most, is_dark in ((65535, False), (4095, True)):
        read(tmp_path, {"a.png": deep_png(kind, RAMP * most)})
        assert ("1 have 16 bits a color" in capfd.readouterr().err) is is_dark


@pytest.mark.parametrize("kind", ["gray", "rgb"])
def test_the_transparent_color_of_a_png_of_sixteen_bits_becomes_white(tmp_path, kind):
    values = np.round(RAMP * 65535)
    third = int(values[0, 2])
    color = (b"tRNS", struct.pack(">H", third) * DEEP[kind][1])
    expected = np.where(values == third, 255, values // 256)
    pixels = read(tmp_path, {"a.png": deep_png(kind, values, color)})[0, :, :, 0]
    np.testing.assert_array_equal(pixels, expected)


def png_of(rows, depth, kind, *others):
    import zlib

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), *others, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


GAMMA = (b"gAMA", struct.pack(">I", 100_000))


@pytest.mark.parametrize("others", [(), ((b"sRGB", b"\0"),)], ids=["linear", "srgb"])
@pytest.mark.parametrize("kind", ["8 bits", *DEEP])
def test_amounts_of_light_become_what_screens_show(tmp_path, others, kind):
    if kind == "8 bits":
        content = png_of((b"\0" + bytes([55] * SIDE)) * SIDE, 8, 0, *others, GAMMA)
    else:
        values = np.full((SIDE, SIDE), 55 * 257)
        values[0] = 65535
        content = deep_png(kind, values, *others, GAMMA)
    pixels = read(tmp_path, {"a.png": content})
    assert (pixels[0, 1:] == (55 if others else 128)).all()
    assert kind == "8 bits" or (pixels[0, 0] == 255).all()


def test_dark_light_of_sixteen_bits_of_gray_keeps_its_steps(tmp_path):
    """Of which eight bits would make two."""
    values = np.repeat(np.arange(SIDE)[None] * 64, SIDE, 0)
    values[-1] = 65535
    pixels = read(tmp_path, {"a.png": deep_png("gray", values, GAMMA)})[0, 0, :, 0]
    assert len(set(pixels.tolist())) == SIDE


COLOR = np.zeros((SIDE, SIDE, 3), np.uint8)
COLOR[: SIDE // 2], COLOR[SIDE // 2 :] = (200, 40, 90), (20, 160, 240)


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("RGB", "png"),
        ("RGB", "tiff"),
        ("RGB", "ppm"),
        ("RGB", "tga"),
        ("RGB", "jpeg2000"),
        ("RGBA", "png"),
        ("P", "png"),
        ("P", "gif"),
        ("CMYK", "tiff"),
        ("YCbCr", "tiff"),
        ("RGB", "webp"),
    ],
)
def test_colors_of_every_kind_are_the_same_picture(tmp_path, kind, suffix):
    image = Image.fromarray(COLOR)
    image = image.quantize(8) if kind == "P" else image.convert(kind)
    settings = {"lossless": True} if suffix == "webp" else {}
    names = {"tiff": "tif", "jpeg2000": "jp2"}
    name = f"a.{names.get(suffix, suffix)}"
    pixels = read(tmp_path, {name: encoded(image, suffix, **settings)}, color=True)[0]
    np.testing.assert_allclose(pixels.astype(int), COLOR, atol=2)


def test_cmyk_of_a_jpeg_is_no_negative(tmp_path):
    content = encoded(Image.fromarray(COLOR).convert("CMYK"), "jpeg", quality=100, subsampling=0)
    pixels = read(tmp_path, {"a.jpg": content}, color=True)[0]
    np.testing.assert_allclose(pixels.astype(int), COLOR, atol=8)


@pytest.mark.parametrize("dpi", [(72, 72), (300, 150)])
def test_pixels_that_are_not_square_change_nothing(tmp_path, dpi):
    """All becomes a square anyway."""
    wide = np.repeat(np.arange(0, 240, 15, np.uint8)[None], SIDE, 0)
    assert wide.shape == (SIDE, 2 * SIDE)
    found = read(tmp_path, {"a.png": encoded(Image.fromarray(wide), "png", dpi=dpi)})
    np.testing.assert_allclose(found[0, 0, 1:-1, 0], np.arange(0, 240, 30)[1:-1] + 7.5, atol=1)


TURNS = {
    1: lambda x: x,
    2: np.fliplr,
    3: lambda x: np.rot90(x, 2),
    4: np.flipud,
    5: lambda x: x.T,
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "gray of 16 bits", "16-bit tiff"])
def test_photographs_are_turned_as_the_camera_was_held(tmp_path, kind, orientation):
    """Not square: where a side is too much, the size is wrong, too."""
    seen = np.zeros((4, 6), np.uint8)
    seen[0, :3], seen[:, 0] = 255, 255
    stored = next(
        turned
        for turned in (seen, seen.T, *(np.rot90(s, k) for k in (1, 2, 3) for s in (seen, seen.T)))
        if np.array_equal(TURNS[orientation](turned), seen)
    )
    large = np.kron(stored, np.ones((16, 16), np.uint8))  # blocks, which JPEG leaves as they are
    exif = Image.Exif()
    exif[0x0112] = orientation
    if "16" in kind:
        large = large.astype(np.uint16) * 257
    suffix = "tiff" if "tiff" in kind else "png" if "16" in kind else kind
    settings = {"lossless": True} if kind == "webp" else {}
    content = encoded(Image.fromarray(large), suffix, exif=exif, **settings)
    found = read(tmp_path, {f"a.{suffix}": content}, size=None)[0, ..., 0]
    np.testing.assert_allclose(found[8::16, 8::16].astype(int), seen, atol=3)
    assert found.shape == (64, 96)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_orientation_that_cannot_be_read_is_none(tmp_path):
    content = encoded(Image.fromarray(COLOR), "jpeg", exif=b"Exif\0\0II*\0\xff\xff\xff\xffjunk")
    assert read(tmp_path, {"a.jpg": content}).shape == (1, SIDE, SIDE, 1)


@pytest.mark.parametrize("suffix", ["tiff", "gif", "webp"])
def test_of_several_pictures_in_a_file_the_first_is_taken_and_that_is_said(tmp_path, suffix, capfd):
    first, second = (Image.fromarray(np.full((SIDE, SIDE), value, np.uint8)) for value in (9, 200))
    content = encoded(first, suffix, save_all=True, append_images=[second])
    pixels = read(tmp_path, {f"a.{suffix}": content, "b.png": png(COLOR)})
    np.testing.assert_allclose(pixels[0].astype(int), 9, atol=2)
    assert "; 1 hold several pictures, of which the first is taken (set/class/a." in (
        capfd.readouterr().err
    )
