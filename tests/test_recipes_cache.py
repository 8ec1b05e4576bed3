"""Pictures are decoded once, to the same pixels; a cache that is old, damaged or half written is never read."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms  # type: ignore[import-untyped]

from expdb.recipes import RecipeError, batches, cache, data
from expdb.recipes.data import Data, Images

WRITER = """
import sys
from pathlib import Path
from expdb.recipes import cache
paths = sorted(Path(sys.argv[1]).rglob("*.jpg"))
print("ready", flush=True)
sys.stdin.readline()
pixels = cache.decoded(paths, int(sys.argv[3]), Path(sys.argv[2]), threads=1)
import hashlib
print(hashlib.sha256(pixels.numpy().tobytes()).hexdigest(), flush=True)
"""


def draw(folder: Path, count: int, classes: Sequence[str] = ("cat", "dog"), side: int = 24) -> list[Path]:
    """JPEG files of noise in class folders, of uneven sides, every third one grey."""
    noise, paths = np.random.default_rng(0), []
    for number in range(count):
        path = folder / classes[number % len(classes)] / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (side + number % 7, side + 3) if number % 3 == 2 else (side + number % 7, side + 3, 3)
        Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8)).save(path)
        paths.append(path)
    return paths


def cache_file(folder: Path) -> Path:
    (found,) = folder.glob("*.pixels")
    return found


def writer(pictures: Path, folder: Path, size: int = 32) -> "subprocess.Popen[str]":
    """A process that has imported all it needs and waits for a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(pictures), str(folder), str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_the_pixels_are_those_of_the_original_way(tmp_path: Path) -> None:
    paths = draw(tmp_path, 7)
    pixels = cache.decoded(paths, 16, tmp_path / "cache")
    assert (pixels.shape, pixels.dtype) == ((7, 3, 16, 16), torch.uint8)
    original = transforms.Compose(
        [
            transforms.Resize((16, 16)),
            transforms.ToTensor(),
            transforms.Normalize(data.IMAGENET_MEAN, data.IMAGENET_STD),
        ]
    )
    expected = torch.stack([original(Image.open(path).convert("RGB")) for path in paths])
    images = Images.whole(pixels, torch.arange(7))
    loaded = Data("a", images, images, ("x",) * 7, data.IMAGENET_MEAN, data.IMAGENET_STD, 16)
    found = torch.cat([inputs for inputs, _ in batches.Batches(images, loaded, 3, torch.device("cpu"))])
    assert torch.equal(found, expected)


def test_nothing_is_decoded_again(tmp_path: Path) -> None:
    paths = draw(tmp_path, 4)
    first = cache.decoded(paths, 8, tmp_path / "cache").clone()
    for path in paths:
        # What was decoded is gone, and nothing that `stat` tells has changed.
        facts = path.stat()
        path.write_bytes(bytes(facts.st_size))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert torch.equal(cache.decoded(paths, 8, tmp_path / "cache"), first)


def test_a_changed_picture_is_decoded_again_and_takes_the_same_place(tmp_path: Path) -> None:
    paths = draw(tmp_path, 4)
    first = cache.decoded(paths, 8, tmp_path / "cache")
    kept = first.clone()
    Image.new("RGB", (20, 20), (200, 100, 50)).save(paths[1])
    second = cache.decoded(paths, 8, tmp_path / "cache")
    assert second[1, :, 4, 4].tolist() == pytest.approx([200, 100, 50], abs=3)
    assert torch.equal(second[[0, 2, 3]], kept[[0, 2, 3]])
    assert cache_file(tmp_path / "cache")
    # Who has the old one open goes on reading it.
    assert torch.equal(first, kept)


def test_another_list_or_size_is_another_cache(tmp_path: Path) -> None:
    paths = draw(tmp_path, 4)
    assert cache.decoded(paths, 8, tmp_path / "cache").shape == (4, 3, 8, 8)
    assert cache.decoded(paths, 12, tmp_path / "cache").shape == (4, 3, 12, 12)
    assert cache.decoded(paths[:3], 8, tmp_path / "cache").shape == (3, 3, 8, 8)
    turned = cache.decoded(paths[::-1], 8, tmp_path / "cache")
    assert torch.equal(turned.flip(0), cache.decoded(paths, 8, tmp_path / "cache"))


def test_what_is_written_to_the_pixels_stays_in_memory(tmp_path: Path) -> None:
    paths = draw(tmp_path, 2)
    pixels = cache.decoded(paths, 8, tmp_path / "cache")
    before = cache_file(tmp_path / "cache").read_bytes()
    pixels.zero_()
    assert cache_file(tmp_path / "cache").read_bytes() == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:],
        lambda whole: whole[:-1],
        lambda whole: whole + b"\0",
        lambda whole: whole[: cache.HEADER_BYTES // 2],
        lambda whole: b"",
        lambda whole: b"[]" + whole[2:],
        lambda whole: whole.replace(b'"shape"', b'"shade"'),
        lambda whole: whole.replace(b'"shape": [4', b'"shape": [9'),
        lambda whole: bytes(len(whole)),
    ],
)
def test_a_damaged_cache_is_found_said_and_made_anew(
    damage: Callable[[bytes], bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    paths = draw(tmp_path, 4)
    first = cache.decoded(paths, 8, tmp_path / "cache").clone()
    place = cache_file(tmp_path / "cache")
    whole = place.read_bytes()
    place.write_bytes(damage(whole))
    assert torch.equal(cache.decoded(paths, 8, tmp_path / "cache"), first)
    assert capfd.readouterr().err == f"{place}: the cache is damaged, its pictures are decoded again\n"
    assert place.read_bytes() == whole


def test_two_writers_at_once_leave_one_whole_cache(tmp_path: Path) -> None:
    paths = draw(tmp_path / "pictures", 60, side=64)
    writers = [writer(tmp_path / "pictures", tmp_path / "cache") for _ in range(2)]
    for process in writers:
        go(process)
    hashes = {process.communicate()[0] for process in writers}
    assert [process.returncode for process in writers] == [0, 0]
    assert len(hashes) == 1
    names = sorted(one.suffix for one in (tmp_path / "cache").iterdir())
    assert names == [".lock", ".pixels"]
    assert cache.decoded(sorted(paths), 32, tmp_path / "cache").shape == (60, 3, 32, 32)


def test_a_killed_writer_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    paths = sorted(draw(tmp_path / "pictures", 40, side=400))
    process = writer(tmp_path / "pictures", tmp_path / "cache", 64)
    go(process)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("cache/.*")):
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not list(tmp_path.glob("cache/*.pixels"))
    assert list(tmp_path.glob("cache/.*.pixels.*"))
    pixels = cache.decoded(paths, 64, tmp_path / "cache")
    assert pixels.shape == (40, 3, 64, 64)
    # What the killed one left is cleared away by the next.
    assert not list(tmp_path.glob("cache/.*.pixels.*"))


def test_a_cache_that_cannot_be_kept_is_one_line(tmp_path: Path) -> None:
    paths = draw(tmp_path, 2)
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="--cache names a folder"):
        cache.decoded(paths, 8, tmp_path / "file")


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    paths = draw(tmp_path, 3)
    paths[2].write_bytes(b"GIF89a and no more")
    with pytest.raises(RecipeError, match=r"002\.jpg: no picture that can be read"):
        cache.decoded(paths, 8, tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*.pixels*"))
    assert not list(tmp_path.glob("cache/.*.pixels.*"))
    paths[2].unlink()
    with pytest.raises(RecipeError, match=r"002\.jpg"):
        cache.decoded(paths, 8, tmp_path / "cache")
    with pytest.raises(RecipeError, match="no pictures"):
        cache.decoded([], 8, tmp_path / "cache")
