"""Readers of image files: the packed archive, torchvision's CIFAR, and the official ImageNet16 pickles."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.files import atomic_write
from nasbench_kd.live.limits import MOST_BYTES, MOST_TEXT, check_file, read_array, read_member
from nasbench_kd.pickles import loads, numpy_names

Bytes = npt.NDArray[np.uint8]
"""Images (n, H, W, 3)."""
Labels = npt.NDArray[np.int64]
"""Class indices (n,)."""

_STRIP = 500
_LABELS_SUM = "sha256_labels_int64"
"""In the manifests that `write_packed` makes: over the labels as little-endian 64-bit integers."""

IMAGENET16_MD5: dict[str, dict[str, str]] = {
    "train": {
        "train_data_batch_1": "27846dcaa50de8e21a7d1a35f30f0e91",
        "train_data_batch_2": "c7254a054e0e795c69120a5727050e3f",
        "train_data_batch_3": "4333d3df2e5ffb114b05d2ffc19b1e87",
        "train_data_batch_4": "1620cdf193304f4a92677b695d70d10f",
        "train_data_batch_5": "348b3c2fdbb3940c4e9e834affd3b18d",
        "train_data_batch_6": "6e765307c242a1b3d7d5ef9139b48945",
        "train_data_batch_7": "564926d8cbf8fc4818ba23d2faac7564",
        "train_data_batch_8": "f4755871f718ccb653440b9dd0ebac66",
        "train_data_batch_9": "bb6dd660c38c58552125b1a92f86b5d4",
        "train_data_batch_10": "8f03f34ac4b42271a294f91bf480f29b",
    },
    "valid": {"val_data": "3410e3017fdaefba8d5073aaa65e4bd6"},
}
"""Files of downsampled ImageNet at 16 x 16 (Chrabaszcz et al., 2017) as NAS-Bench-201 checks them."""


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a packed archive; raises `DataError`."""
    check_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(read_member(archive, "manifest.json", MOST_TEXT))
        manifest["splits"].keys()
    except DataError:
        raise
    except Exception as error:  # a damaged zip raises whatever its packing does
        raise DataError(f"{path} is not a packed image archive: {error}") from error
    return dict(manifest)


def read_packed(path: Path, split: str) -> tuple[Bytes, Labels]:
    """Read one split of a packed archive and check it against its manifest.

    Layout: `SPLIT/0000.webp ...` lossless strips (width W, height n x H), `SPLIT/labels.npy`, and
    `manifest.json` with the count, shape and sha256 of the raw bytes, and, where it has it, of the labels.
    Raises `DataError`.
    """
    from PIL import Image

    about = read_manifest(path)["splits"].get(split)
    if about is None:
        raise DataError(f"{path} has no split {split!r}")
    try:
        with zipfile.ZipFile(path) as archive:
            strips = [
                name
                for name in sorted(archive.namelist())
                if name.startswith(f"{split}/") and not name.endswith(".npy")
            ]
            shape = tuple(about["shape"])
            left = min(about["n"] * math.prod(shape), MOST_BYTES)
            parts = []
            for name in strips:
                strip = Image.open(io.BytesIO(read_member(archive, name)), formats=("PNG", "WEBP"))
                left -= 3 * strip.width * strip.height  # known before the pixels are unpacked
                if left < 0:
                    raise DataError(f"{name} in {path} has more pixels than the manifest says")
                parts.append(np.asarray(strip.convert("RGB")).reshape(-1, *shape))
            images = np.concatenate(parts)
            labels = read_array(archive, f"{split}/labels.npy", MOST_TEXT)
    except DataError:
        raise
    except Exception as error:  # a damaged image raises whatever its format does
        raise DataError(f"{path} is not a packed image archive with the split {split!r}: {error}") from error
    found = hashlib.sha256(images.tobytes()).hexdigest()
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"the labels of {split!r} in {path} are {labels.dtype} of shape {labels.shape}, not class indices"
        )
    labels = labels.astype(np.int64)
    same = found == about["sha256_hwc_uint8"] and about.get(_LABELS_SUM, _sum(labels)) == _sum(labels)
    if not same or len(images) != about["n"] or len(labels) != about["n"]:
        raise DataError(
            f"the images of {split!r} in {path} differ from their manifest; fetch the archive again"
        )
    return images, labels


def _sum(labels: Labels) -> str:
    return hashlib.sha256(labels.astype("<i8").tobytes()).hexdigest()


def write_packed(path: Path, splits: dict[str, tuple[Bytes, Labels]], about: dict[str, Any]) -> None:
    """Write a packed archive of lossless PNG strips; `about` is added to the manifest."""
    from PIL import Image

    manifest: dict[str, Any] = {**about, "strip": _STRIP, "splits": {}}
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        for split, (images, labels) in splits.items():
            height, width = images.shape[1:3]
            for i, start in enumerate(range(0, len(images), _STRIP)):
                strip = images[start : start + _STRIP].reshape(-1, width, 3)
                buffer = io.BytesIO()
                Image.fromarray(strip).save(buffer, "PNG")
                archive.writestr(f"{split}/{i:04d}.png", buffer.getvalue())
            buffer = io.BytesIO()
            np.save(buffer, labels)
            archive.writestr(f"{split}/labels.npy", buffer.getvalue())
            manifest["splits"][split] = {
                "n": len(images),
                "shape": [height, width, 3],
                "sha256_hwc_uint8": hashlib.sha256(images.tobytes()).hexdigest(),
                _LABELS_SUM: _sum(labels),
            }
        archive.writestr("manifest.json", json.dumps(manifest))


def read_cifar(name: str, root: Path, *, train: bool, download: bool) -> tuple[Bytes, Labels]:
    """CIFAR-10 or CIFAR-100 as torchvision fetches, keeps and checks it; raises `DataError` where it is absent."""
    from torchvision.datasets import CIFAR10, CIFAR100

    kind = CIFAR10 if name == "cifar10" else CIFAR100
    try:
        data = kind(str(root), train=train, download=download)
    except OSError as error:
        raise DataError(
            f"{name} could not be downloaded ({error}); try again, or put torchvision's {kind.base_folder} into {root}"
        ) from error
    except RuntimeError as error:
        raise DataError(
            f"no images of {name} under {root}; allow the download (--download), or put them there"
        ) from error
    return data.data, np.array(data.targets, dtype=np.int64)


def read_imagenet16(
    folder: Path, split: str, classes: int, checksums: dict[str, dict[str, str]] = IMAGENET16_MD5
) -> tuple[Bytes, Labels]:
    """The first `classes` classes of downsampled ImageNet at 16 x 16, without running its pickles.

    Files hold `data` (n, 768) and `labels` 1..1000; their md5 is checked before they are opened, and
    `DataError` raised where one is absent or altered.
    """
    images, labels = [], []
    for name, md5 in checksums[split].items():
        try:
            check_file(folder / name)
            content = (folder / name).read_bytes()
        except OSError as error:
            raise DataError(
                f"no {name} in {folder}: image-net.org gives out ImageNet at 16 x 16 after registration"
            ) from error
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise DataError(f"{folder / name} is not the official file (md5 {md5} is expected); get it again")
        batch = loads(content, numpy_names(), str(folder / name), encoding="latin1")
        images.append(np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 16, 16))
        labels.append(np.asarray(batch["labels"], dtype=np.int64) - 1)
    every, kinds = np.concatenate(images), np.concatenate(labels)
    keep = kinds < classes
    return np.ascontiguousarray(every[keep].transpose(0, 2, 3, 1)), kinds[keep]
