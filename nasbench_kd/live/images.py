"""Images of a task in NAS-Bench-201's splits: read once, kept on the device, augmented there.

A folder of images (the `root` of every function here) holds what the task needs:
`cifar10.zip` / `cifar100.zip` / `imagenet16-120.zip` in the packed format below, or torchvision's own
CIFAR folders, or the official ImageNet16 pickles; and NAS-Bench-201's split lists `cifar-split.txt`,
`cifar100-test-split.txt`, `imagenet-16-120-test-split.txt`.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from nasbench_kd.errors import DataError, UnknownNameError, nearest

Bytes = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

SUBSET_SEED = 201
"""Seed of the fixed order in which `images=N` takes training images and `valid_images` takes valid ones."""


@dataclass(frozen=True)
class Statistics:
    """Normalisation and augmentation of a data set, on the 0 to 255 scale (NAS-Bench-201, section 2.2)."""

    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    padding: int
    """Pixels of black border before the random crop."""


STATISTICS: Mapping[str, Statistics] = {
    "cifar10": Statistics(10, (125.3, 123.0, 113.9), (63.0, 62.1, 66.7), 4),
    "cifar100": Statistics(100, (129.3, 124.1, 112.4), (68.2, 65.4, 70.4), 4),
    "imagenet16-120": Statistics(120, (122.68, 116.66, 104.01), (63.22, 61.26, 65.09), 2),
}


@dataclass(frozen=True)
class ImageTask:
    """Training and validation images of a task: uint8 (n, H, W, 3) and labels (n,)."""

    name: str
    statistics: Statistics
    train_images: Bytes
    train_labels: Labels
    valid_images: Bytes
    valid_labels: Labels

    @property
    def side(self) -> int:
        """Height and width of the images in pixels."""
        return int(self.train_images.shape[1])

    def digest(self) -> str:
        """sha256 over all images and labels, for the provenance."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.valid_images, self.valid_labels):
            digest.update(np.ascontiguousarray(array))
        return digest.hexdigest()


def subset_order(count: int) -> npt.NDArray[np.int64]:
    """The fixed order of `count` images of which a prefix is the subset that `images=N` names."""
    return np.random.default_rng(SUBSET_SEED).permutation(count)


def read_split(path: Path, key: str) -> npt.NDArray[np.int64]:
    """One list of a NAS-Bench-201 split file (`{"train": ["int", ["0", ...]], ...}`); raises `DataError`."""
    try:
        lists = json.loads(path.read_text())
        kind, values = lists[key]
        if kind != "int":
            raise ValueError(kind)
        return np.array([int(value) for value in values], dtype=np.int64)
    except OSError as error:
        raise DataError(
            f"no split list at {path}: NAS-Bench-201's lists are in the folder configs/nas-benchmark of "
            "github.com/D-X-Y/AutoDL-Projects"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not a NAS-Bench-201 split list with the key {key!r}") from error


def read_packed(path: Path, split: str) -> tuple[Bytes, Labels]:
    """Read one split of a packed archive and check it against its manifest.

    Layout: `SPLIT/0000.webp ...` lossless strips (width W, height n x H), `SPLIT/labels.npy`, and
    `manifest.json` with the count, shape and sha256 of the raw bytes. Raises `DataError`.
    """
    from PIL import Image

    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("manifest.json"))["splits"][split]
            strips = [
                name
                for name in sorted(archive.namelist())
                if name.startswith(f"{split}/") and not name.endswith(".npy")
            ]
            shape = tuple(about["shape"])
            images = np.concatenate(
                [
                    np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")).reshape(-1, *shape)
                    for name in strips
                ]
            )
            labels = np.load(io.BytesIO(archive.read(f"{split}/labels.npy")), allow_pickle=False)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a packed image archive with the split {split!r}: {error}") from error
    found = hashlib.sha256(images.tobytes()).hexdigest()
    if found != about["sha256_hwc_uint8"] or len(images) != about["n"] or len(labels) != about["n"]:
        raise DataError(f"the images of {split!r} in {path} differ from their manifest; fetch the archive again")
    return images, labels.astype(np.int64)


def load_task(name: str, root: Path, splits: Path | None = None) -> ImageTask:
    """Load a task's images in NAS-Bench-201's training and validation split.

    CIFAR-10 trains on 25,000 and validates on the other 25,000 training images (`cifar10-valid`);
    CIFAR-100 validates on the 5,000 x-valid test images, ImageNet16-120 on its 3,000.
    Raises `DataError` where images are absent or altered, `UnknownNameError` for an unknown task.
    """
    if name not in STATISTICS:
        raise UnknownNameError(
            f"no image task {name!r}: there are {', '.join(STATISTICS)}.{nearest(name, STATISTICS)}"
        )
    splits = root if splits is None else splits
    train, train_labels, test, test_labels = _read_all(name, root)
    if name == "cifar10":
        keep = read_split(splits / "cifar-split.txt", "train")
        held = read_split(splits / "cifar-split.txt", "valid")
        parts: tuple[Any, ...] = (train[keep], train_labels[keep], train[held], train_labels[held])
    else:
        file = "cifar100-test-split.txt" if name == "cifar100" else "imagenet-16-120-test-split.txt"
        held = read_split(splits / file, "xvalid")
        parts = (train, train_labels, test[held], test_labels[held])
    return ImageTask(name, STATISTICS[name], *parts)


def _read_all(name: str, root: Path) -> tuple[Bytes, Labels, Bytes, Labels]:
    packed = root / f"{name}.zip"
    if packed.exists():
        return (*read_packed(packed, "train"), *read_packed(packed, "test"))
    raise DataError(f"no images of {name} under {root}")


class DeviceImages:
    """Normalised images on the device, ready for batches; never copied again.

    Args:
        images: uint8 (n, H, W, 3).
        labels: (n,).
        size: side in pixels; smaller than the images' means average pooling.
        padding: black border for the random crop; 0 leaves augmentation out.
    """

    def __init__(
        self,
        images: Bytes,
        labels: Labels,
        statistics: Statistics,
        *,
        size: int,
        dtype: torch.dtype,
        device: torch.device,
        padding: int = 0,
    ) -> None:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        mean = torch.tensor(statistics.mean, device=device)
        std = torch.tensor(statistics.std, device=device)
        parts = []
        for chunk in pixels.split(4096):
            values = chunk.float()
            if size != images.shape[1]:
                values = F.adaptive_avg_pool2d(values.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)
            if padding:
                values = F.pad(values, (0, 0, padding, padding, padding, padding))
            parts.append(((values - mean) / std).to(dtype))
        self._pixels = torch.cat(parts).contiguous()
        self.labels = torch.from_numpy(np.ascontiguousarray(labels)).to(device)
        self.size = size
        self.padding = padding

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, rows: Tensor) -> Tensor:
        """The images of `rows` as they are: (B, 3, size, size), channels last."""
        if self.padding:
            inner = self._pixels[rows, self.padding : -self.padding, self.padding : -self.padding]
            return inner.permute(0, 3, 1, 2)
        return self._pixels.index_select(0, rows).permute(0, 3, 1, 2)

    def augmented_batch(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The images of `rows`, flipped with probability one half and cropped at random."""
        device, count = self._pixels.device, len(rows)
        draws = torch.randint(0, 2 * self.padding + 1, (2, count), generator=generator).to(device)
        flips = torch.randint(0, 2, (count, 1), generator=generator).to(device)
        steps = torch.arange(self.size, device=device)
        ys = draws[0][:, None] + steps
        xs = draws[1][:, None] + steps
        side = self._pixels.shape[2] - 1
        xs = torch.where(flips.bool(), side - xs, xs)
        crop = self._pixels[rows[:, None, None], ys[:, :, None], xs[:, None, :]]
        return crop.permute(0, 3, 1, 2)
