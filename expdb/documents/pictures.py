"""The pictures that a page's `plot` markers name: where they may lie, and whether they show what the database says.

A picture carries a stamp behind its image, which viewers pass over: the digest of the figure's numbers and words, and
that of the image. So a page is checked without drawing, and another version of a font or of matplotlib makes no picture
stale.
"""

import hashlib
import json
import os
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote

from expdb import whole
from expdb.errors import InputError, UsageError
from expdb.figures import Figure

SUFFIXES: Final = (".svg", ".png")
# Of one part of a path, on every file system in use.
_MOST_BYTES: Final = 255
_WORD: Final = b"expdb figure "
_STAMP: Final = re.compile(rb"expdb figure ([0-9a-f]{64}) image ([0-9a-f]{64})")
_STAMP_BYTES: Final = len(_WORD) + 64 + len(b" image ") + 64
_SVG: Final = (b"<!-- ", b" -->\n")
_PNG_KEY: Final = b"Comment\0"
_PNG_END: Final = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure and the file where it belongs. name: as the page says it; digest: of what the figure shows."""

    name: str
    path: Path
    figure: Figure
    digest: str

    def is_current(self) -> bool:
        """Whether the file shows this figure, and nobody changed the image. Raises InputError for a file that no
        expdb drew."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror or error}", path=self.name) from error
        found = _stamp_of(data)
        if found is None:
            raise InputError("is there already, and expdb did not draw it", path=self.name, hint="another file=")
        digest, image, body = found
        return digest == self.digest and hashlib.sha256(body).hexdigest() == image

    def write(self, image: bytes) -> None:
        """Put the drawn image there, stamped, whole or not at all."""
        data = _stamped(image, self.path.suffix.lower(), self.digest)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with whole.beside(self.path) as partial:
                partial.write_bytes(data)
                partial.replace(self.path)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=self.name) from error


def picture(name: str, page: Path, figure: Figure) -> Picture:
    """The figure as a file beside the page, or in a folder below it. Raises UsageError for any other place."""
    return Picture(name, place(name, page), figure, _digest(figure))


def place(name: str, page: Path) -> Path:
    """The file of that name in the folder of the page, a resolved path, or below it. Raises UsageError for any other
    place, also behind links, and for what is no name of a picture."""
    example = 'for example file="img/curves.svg"'
    if not name:
        raise UsageError("a plot needs a file to be drawn into", hint=example)
    parts = PurePosixPath(name).parts
    if (
        not name.isprintable()
        or re.search(r'[\\:*?"<>|]', name)
        or PurePosixPath(name).is_absolute()
        or any(part in ("..", "~") or part.startswith("-") for part in parts)
    ):
        raise UsageError(f"file={name!r}: a picture lies in the folder of its page or below it", hint=example)
    if PurePosixPath(name).suffix.lower() not in SUFFIXES:
        raise UsageError(f"file={name!r}: a page shows {' or '.join(SUFFIXES)}", hint=example)
    if any(len(os.fsencode(part)) > _MOST_BYTES for part in parts):
        raise UsageError(f"file={name!r} is longer than names of files can be", hint=example)
    wanted = page.parent.joinpath(*parts)
    found = Path(os.path.realpath(wanted))
    if not found.is_relative_to(os.path.realpath(page.parent)):
        raise UsageError(f"file={name!r} leads out of the folder of its page, by a link", hint=example)
    if found.exists() and not found.is_file():
        raise UsageError(f"file={name!r} is no file", hint=example)
    return found


def link(address: str) -> str:
    """A path or an address as Markdown's `![](...)` takes it. Raises UsageError for an address that is no picture's."""
    scheme = re.match(r"\s*([^/?#]*?):", address)
    if scheme and scheme[1].lower() not in ("http", "https"):
        raise UsageError(f"link={address!r}: a path, or an address of http or https", hint='link="curves.svg"')
    return re.sub(r"[^\w./:?#&=+,;@!$-]|\s", lambda found: quote(found[0]), address.replace("\\", "/"))


def _digest(figure: Figure) -> str:
    """Of everything that is drawn; not of how."""
    words = json.dumps(asdict(figure), default=_plainly, sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def _plainly(value: object) -> object:
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"a figure holds no {type(value)}")


def _stamped(image: bytes, suffix: str, digest: str) -> bytes:
    stamp = _WORD + digest.encode() + b" image " + hashlib.sha256(image).hexdigest().encode()
    if suffix == ".png":
        body = b"tEXt" + _PNG_KEY + stamp
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return image[: -len(_PNG_END)] + chunk + _PNG_END
    return image + _SVG[0] + stamp + _SVG[1]


def _stamp_of(data: bytes) -> tuple[str, str, bytes] | None:
    """Digest of the figure, digest of the image, and the image without its stamp; None where there is none."""
    before, behind = len(_SVG[0]) + _STAMP_BYTES + len(_SVG[1]), b""
    if data.endswith(_PNG_END):
        before, behind = 4 + 4 + len(_PNG_KEY) + _STAMP_BYTES + 4 + len(_PNG_END), _PNG_END
    tail = data[-before:]
    found = _STAMP.search(tail)
    if not found:
        return None
    return found[1].decode(), found[2].decode(), data[: len(data) - before] + behind
