"""A page's file: its text to work on, and every byte that is not ours as it was."""

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from expdb import whole
from expdb.errors import InputError
from expdb.parsers.encoding import encoding_of

_SAMPLE_BYTES = 1 << 16
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True, slots=True)
class PageFile:
    """A page as it was read. path: as it was typed; target: the file behind all links. bom: the bytes before the text.

    encoding: one in which the text gives exactly these bytes again.
    """

    path: Path
    target: Path
    data: bytes
    text: str
    encoding: str
    bom: bytes = b""

    def encoded(self, text: str) -> bytes:
        """The text, of which nothing is `lacking`, as bytes of this page."""
        return self.bom + text.encode(self.encoding)

    def lacking(self, text: str) -> str | None:
        """The first character of the text that the page's encoding does not have."""
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError as error:
            return str(error.object[error.start])
        return None

    def check(self) -> None:
        """Raise InputError where the file may not be written, or is another one than was read."""
        if self.target.exists() and not os.access(self.target, os.W_OK):
            raise InputError("cannot be written: it is read-only", path=str(self.path))
        try:
            is_same = self.target.read_bytes() == self.data
        except OSError:
            is_same = False
        if not is_same:
            raise InputError(
                "somebody changed it meanwhile; what they wrote stands",
                path=str(self.path),
                hint=f"again: expdb report sync {self.path}",
            )

    def replace(self, text: str) -> None:
        """Put the text in the page's place, whole or not at all, with the mode of the file, behind its links.

        Raises InputError where it cannot be written, or is another one than was read.
        """
        data = self.encoded(text)
        try:
            with whole.beside(self.target) as partial:
                with partial.open("wb") as file:
                    file.write(data)
                    file.flush()
                    # A page is a person's work: it outlives a power cut.
                    os.fsync(file.fileno())
                partial.chmod(self.target.stat().st_mode & 0o7777)
                self.check()
                partial.replace(self.target)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", path=str(self.path)) from error


def new(path: Path, text: str) -> PageFile:
    """A page that is not there yet, as UTF-8."""
    return PageFile(path, Path(os.path.realpath(path)), b"", text, "utf-8")


def create(page: PageFile, text: str) -> None:
    """Write a page that is not there yet, whole. Raises InputError where there is one, or none can be."""
    try:
        page.target.parent.mkdir(parents=True, exist_ok=True)
        with page.target.open("xb") as file:
            file.write(page.encoded(text))
    except FileExistsError:
        raise InputError("is there already", path=str(page.path), hint="-o ANOTHER.md") from None
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", path=str(page.path)) from error


def read(path: Path) -> PageFile:
    """The page there. Raises InputError for what is no text, or cannot be read."""
    try:
        target = path.resolve()
        data = target.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", path=str(path)) from error
    except RuntimeError:
        # Python 3.11 and 3.12 say it so of links that go round in a circle.
        raise InputError("cannot be read: its links lead round in a circle", path=str(path)) from None
    bom, encoding = next(((bom, name) for bom, name in _BOMS if data.startswith(bom)), (b"", ""))
    for one in (encoding,) if encoding else _candidates(data):
        text = _exactly(data[len(bom) :], one)
        if text is not None:
            return PageFile(path, target, data, text, one, bom)
    hint = "save it as UTF-8"
    raise InputError("is no text in an encoding that expdb can write back byte for byte", path=str(path), hint=hint)


def _candidates(data: bytes) -> Iterator[str]:
    yield "utf-8"
    found = encoding_of(data, _SAMPLE_BYTES)
    if found == "gb18030":
        # Who reads GBK does not read the four bytes that GB 18030 has for other characters.
        yield "gbk"
    if found:
        yield found


def _exactly(data: bytes, encoding: str) -> str | None:
    """The text, where encoding it again gives the same bytes; None otherwise."""
    try:
        text = data.decode(encoding)
        # NUL is UTF-8, but in a text it is UTF-16 without its mark, or none.
        return text if text.encode(encoding) == data and "\0" not in text else None
    except (UnicodeError, LookupError):
        return None
