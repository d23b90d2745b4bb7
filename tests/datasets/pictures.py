"""Tiny images, and folders and archives of them, made by the tests that need them."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image


def encoded(pixels, suffix, **settings):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, suffix, **settings)
    return file.getvalue()


def png(pixels, **settings):
    return encoded(pixels, "png", **settings)


def random_pixels(seed, side=6):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def numbered(number, side=4):
    """A picture that says which one it is: its red and green spell the number."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = divmod(number, 256)
    return png(pixels)


def numbers_of(data):
    """The numbers of `numbered` pictures, class by class."""
    numbers = data.examples[:, 0, 0, 0].astype(int) * 256 + data.examples[:, 0, 0, 1]
    return {
        name: numbers[start : start + size].tolist()
        for name, start, size in zip(data.names, data.starts, data.sizes, strict=True)
    }


def write_folder(root, entries):
    for name, content in entries.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def write_zip(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return path


def write_tar(path, entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as file:
        for name, content in entries.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def packed(tmp_path, kind, name, entries):
    """The entries as `name/`, or as `name.zip` and so on, in which there is no `name/`."""
    if kind == "folder":
        return write_folder(tmp_path / name, entries)
    write = write_zip if kind == "zip" else write_tar
    return write(tmp_path / f"{name}.{kind}", entries)


KINDS = ("folder", "zip", "tar", "tar.gz")
