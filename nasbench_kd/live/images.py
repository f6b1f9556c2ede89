"""The images of a task in NAS-Bench-201's training and validation split.

A folder of images holds one of these for a task, looked for in this order:
- `cifar10.zip`, `cifar100.zip`, `imagenet16-120.zip` or, for an own data set, `NAME.zip` in the packed format
  of `archives.read_packed`;
- CIFAR as torchvision keeps it, downloaded on request;
- `ImageNet16/` with the official pickles of downsampled ImageNet, 16 x 16.
The split lists are NAS-Bench-201's own: `cifar-split.txt`, `cifar100-test-split.txt` and
`imagenet-16-120-test-split.txt`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError, UnknownNameError, nearest
from nasbench_kd.live.archives import Bytes, Labels, read_cifar, read_imagenet16, read_manifest, read_packed
from nasbench_kd.live.limits import MOST_TEXT, check_file

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

    @cached_property
    def digest(self) -> str:
        """sha256 over all images and labels, for the provenance."""
        digest = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.valid_images, self.valid_labels):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def subset_order(count: int) -> npt.NDArray[np.int64]:
    """The fixed order of `count` images of which a prefix is the subset that `images=N` names."""
    return np.random.default_rng(SUBSET_SEED).permutation(count)


def read_split(path: Path, key: str) -> npt.NDArray[np.int64]:
    """One list of a NAS-Bench-201 split file (`{"train": ["int", ["0", ...]], ...}`), each image once.

    Raises `DataError` where it names an image twice, or one that another list of the file has.
    """
    check_file(path, MOST_TEXT)
    try:
        lists = {}
        for name, (kind, values) in json.loads(path.read_text()).items():
            if kind != "int":
                raise ValueError(kind)
            lists[name] = np.array([int(value) for value in values], dtype=np.int64)
        chosen = lists[key]
    except OSError as error:
        raise DataError(
            f"no split list at {path}: NAS-Bench-201's lists are in the folder configs/nas-benchmark of "
            "github.com/D-X-Y/AutoDL-Projects"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DataError(f"{path} is not a NAS-Bench-201 split list with the key {key!r}") from error
    every = np.concatenate(list(lists.values()))
    if len(np.unique(every)) != len(every) or (every < 0).any():
        raise DataError(
            f"the lists of {path} name an image twice or below 0: its sets are not apart; get it again"
        )
    return chosen


def load_task(name: str, root: Path, splits: Path | None = None, *, download: bool = False) -> ImageTask:
    """Load a task's images in NAS-Bench-201's training and validation split.

    CIFAR-10 trains on 25,000 and validates on the other 25,000 training images (`cifar10-valid`);
    CIFAR-100 validates on the 5,000 x-valid test images, ImageNet16-120 on its 3,000.
    Any other name is an own data set: `NAME.zip` with the splits `train` and `valid`, and in its manifest
    the statistics (see docs/live.md). `download` lets torchvision fetch CIFAR into `root`.
    Raises `DataError` where images are absent or altered, `UnknownNameError` for an unknown task.
    """
    splits = root if splits is None else splits
    packed = root / f"{name}.zip"
    if name not in STATISTICS:
        if packed.exists():
            return _own_task(name, packed)
        raise UnknownNameError(
            f"no image task {name!r}: there are {', '.join(STATISTICS)}, and {packed} does not exist."
            f"{nearest(name, STATISTICS)}"
        )
    if packed.exists():
        train, train_labels = read_packed(packed, "train")
        test, test_labels = read_packed(packed, "test")
    elif name == "imagenet16-120":
        train, train_labels = read_imagenet16(root / "ImageNet16", "train", STATISTICS[name].classes)
        test, test_labels = read_imagenet16(root / "ImageNet16", "valid", STATISTICS[name].classes)
    else:
        train, train_labels = read_cifar(name, root, train=True, download=download)
        test, test_labels = read_cifar(name, root, train=False, download=download)
    if name == "cifar10":
        path = splits / "cifar-split.txt"
        keep = _within(read_split(path, "train"), len(train), path)
        held = _within(read_split(path, "valid"), len(train), path)
        parts: tuple[Any, ...] = (train[keep], train_labels[keep], train[held], train_labels[held])
    else:
        path = splits / f"{'cifar100' if name == 'cifar100' else 'imagenet-16-120'}-test-split.txt"
        held = _within(read_split(path, "xvalid"), len(test), path)
        parts = (train, train_labels, test[held], test_labels[held])
    return _checked(ImageTask(name, STATISTICS[name], *parts))


def _within(rows: npt.NDArray[np.int64], count: int, path: Path) -> npt.NDArray[np.int64]:
    """The rows of a split list, all of them among the images there are."""
    if not len(rows) or int(rows.max()) >= count:
        raise DataError(f"{path} names {len(rows)} images up to {rows.max(initial=0)}; there are {count}")
    return rows


def _checked(task: ImageTask) -> ImageTask:
    """The task; raises `DataError` where its labels or images are not what its statistics say."""
    for images, labels in ((task.train_images, task.train_labels), (task.valid_images, task.valid_labels)):
        if len(images) != len(labels) or not len(labels) or images.shape[1:] != task.train_images.shape[1:]:
            raise DataError(f"{task.name} has {images.shape} images of {len(labels)} labels, or of two sizes")
        if labels.min() < 0 or labels.max() >= task.statistics.classes:
            raise DataError(
                f"{task.name} has labels from {labels.min()} to {labels.max()}, and {task.statistics.classes} classes"
            )
    return task


def _own_task(name: str, packed: Path) -> ImageTask:
    about = read_manifest(packed)
    try:
        statistics = Statistics(
            int(about["classes"]), tuple(about["mean"]), tuple(about["std"]), int(about["padding"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the manifest of {packed} lacks {error}: an own data set names classes (a count), mean and std "
            "(three numbers each, 0 to 255) and padding (pixels of border before the random crop)"
        ) from error
    return _checked(ImageTask(name, statistics, *read_packed(packed, "train"), *read_packed(packed, "valid")))
