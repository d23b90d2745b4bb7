"""Which files are images: by their names or, if names do not tell, by their first bytes."""

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".avif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".pcx", ".qoi"),
)
# named, because some that Pillow knows are programs to run (EPS, by Ghostscript)
FORMATS = (
    *("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "AVIF", "TIFF", "PPM", "JPEG2000", "TGA", "PCX"),
    "QOI",
)
NUM_FIRST_BYTES = 32

_NOT_READ = {
    "HEIC, which Pillow does not read: convert to JPEG": (".heic", ".heif", ".hif"),
    # a TIFF to Pillow, which would take the thumbnail in it
    "a camera's raw file: develop it, say to TIFF": (
        *(".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2", ".orf", ".rw2"),
        *(".pef", ".raf", ".srw", ".3fr", ".iiq", ".erf", ".kdc", ".dcr", ".mrw"),
    ),
}
_FIRST_BYTES = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"qoif"),
    *(b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51"),
)
_AVIF, _HEIC = (b"avif", b"avis"), (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def is_image(name: str) -> bool:
    """Whether a file has the name of an image."""
    return name.lower().endswith(SUFFIXES)


def why_no_image(name: str, first_bytes: bytes) -> str | None:
    """Why a file is not read as an image. None if it is an image.

    Args:
        name: name of the file.
        first_bytes: returns the first bytes of the file; called if the name does not tell.
    """
    if is_image(name):
        return None
    for why, suffixes in _NOT_READ.items():
        if name.lower().endswith(suffixes):
            return why
    if first_bytes[4:8] == b"ftyp" and first_bytes[8:12] in _HEIC:
        return next(iter(_NOT_READ))
    return None if _begins_as_image(first_bytes) else "no image"


def _begins_as_image(content: bytes) -> bool:
    return (
        content.startswith(_FIRST_BYTES)
        or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")
        or (content[4:8] == b"ftyp" and content[8:12] in _AVIF)
        or (content[:2] == b"BM" and content[6:10] == bytes(4))
    )
