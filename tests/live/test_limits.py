"""Files of images and weights that ask for more than they hold end typed, before memory is given to them."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nasbench_kd.cli import app
from nasbench_kd.errors import DataError, NasbenchKDError
from nasbench_kd.live.archives import read_imagenet16, read_manifest, read_packed
from nasbench_kd.live.images import read_split
from nasbench_kd.live.limits import read_member
from nasbench_kd.live.teacher import read_weights


def header(shape: tuple[int, ...]) -> bytes:
    """An .npy of zeros that says it has a shape and holds nothing."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return content.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG that says it is large and holds nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def packed(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return path


MANIFEST = json.dumps({"splits": {"train": {"n": 2, "shape": [4, 4, 3], "sha256_hwc_uint8": ""}}}).encode()


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 60, 1 << 60)])
def test_weights_whose_header_asks_for_terabytes(tmp_path, shape):
    with pytest.raises(DataError, match="stem.npy in .* is no array of"):
        read_weights(packed(tmp_path / "teacher.npz", stem_dot_npy=header(shape)))


def test_what_unpacks_to_more_than_it_may(tmp_path):
    path = packed(tmp_path / "teacher.npz", stem_dot_npy=bytes(5000))
    with (
        zipfile.ZipFile(path) as archive,
        pytest.raises(DataError, match="unpacks to 5,000 bytes; 1,000 are"),
    ):
        read_member(archive, "stem.npy", 1000)


class AsksForMemory:
    """Pickled as a call that fills a hundred gigabytes, which PyTorch's weights-only loader makes."""

    def __reduce__(self):
        return bytearray, (100 << 30,)


def test_a_state_dict_that_fills_memory(tmp_path):
    torch.save({"stem": AsksForMemory()}, tmp_path / "teacher.pt")
    with pytest.raises(DataError, match=r"teacher\.pt was not read|teacher\.pt is not a readable file"):
        read_weights(tmp_path / "teacher.pt")


def test_the_weights_of_pytorch_are_those_that_were_saved(tmp_path):
    state = {"half": torch.rand(3).bfloat16(), "count": torch.tensor(7), "matrix": torch.rand(2, 3).T}
    torch.save({"state_dict": state}, tmp_path / "teacher.pt")
    read = read_weights(tmp_path / "teacher.pt")
    assert list(read) == list(state)
    for name, value in state.items():
        assert torch.equal(read[name], value.to(read[name].dtype))
    assert read["count"].dtype == torch.int64


@pytest.mark.parametrize(
    "files",
    [
        {"train__0_dot_png": png(60_000, 60_000)},  # PIL refuses it with an error of its own
        {"train__0_dot_png": png(4, 16_000)},
        {"train__0_dot_png": png(4, 8), "train__labels_dot_npy": header((1 << 40,))},
        {
            "train__0_dot_png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 8\n"
        },  # PIL would run Ghostscript
    ],
)
def test_images_that_ask_for_more_than_their_manifest_says(tmp_path, files):
    path = packed(tmp_path / "own.zip", manifest_dot_json=MANIFEST, **files)
    with pytest.raises(DataError, match="more pixels|not a packed image archive|no array of"):
        read_packed(path, "train")


@pytest.mark.parametrize(
    "read",
    [
        read_weights,
        read_manifest,
        lambda path: read_split(path, "train"),
        lambda path: read_imagenet16(path.parent, "train", 120, {"train": {path.name: ""}}),
    ],
    ids=["teacher", "images", "split", "ImageNet16"],
)
def test_a_pipe_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "file.npz")
    with pytest.raises(DataError, match="pipe or a device"):
        read(tmp_path / "file.npz")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ["--fidelity", "none@1 images=64", "--seed", "70000"],
            "a training seed is a whole number from 0 to 65535",
        ),
        (["--fidelity", "none@1 images=999999"], "asks for 999999 training images"),
        (["--fidelity", "none@1 images=64 size=1"], "a multiple of 4 is needed"),
    ],
)
def test_a_fill_is_refused_before_the_clock_trains_anything(tmp_path, tiny_task, monkeypatch, asked, message):
    monkeypatch.setattr("nasbench_kd.live.laboratory.Laboratory.task", lambda *_: tiny_task)
    monkeypatch.setattr("nasbench_kd.live.clock.measure_clock", lambda *_, **__: pytest.fail("it trains"))
    options = [
        "--task",
        "cifar10",
        *asked,
        "--classes",
        "1",
        "--database",
        tmp_path / "live.db",
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(app, ["fill", *map(str, options)])
    assert isinstance(result.exception, NasbenchKDError) or result.exit_code == 2
    assert message in " ".join(f"{result.output} {result.exception}".split())
