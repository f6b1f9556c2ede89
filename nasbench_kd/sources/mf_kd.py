"""The MF-KD authors' own distilled trainings (IlyaTrofimov/AutoDL-Projects, branch trofim).

Each is a training of 12 epochs with cross-entropy + 25 x neuron selectivity transfer (NST), seed 111, of
the full network. A record holds, for one data set, `train_losses`, `train_acc1es` and `train_times` by
epoch from 0 and `valid_losses`, `valid_acc1es` by `SET@EPOCH`; losses are the whole objective and go
below zero; train readings are means over the epoch's own batches. The text of the network in
`net_string` names the cell.

Single records are files of `torch.save`. The authors' full dumps are gzipped pickles whose outer
structure is not documented: records are looked for in dictionaries, lists and tuples, at any depth.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nasbench_kd.errors import DataError
from nasbench_kd.files import sha256_of
from nasbench_kd.pickles import Known, Sealed, loads, numpy_names
from nasbench_kd.sources.archive import opened
from nasbench_kd.sources.measured import Floats, Place, measured_columns
from nasbench_kd.sources.origin import PublicSource, RemoteFile, whole_counts
from nasbench_kd.sources.trials import TEST, VALID
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, Cell
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER, tables
from nasbench_kd.tables.column import Column, Split
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS

EPOCHS = 12
SEED = 111
"""Of every training that does not say another in its file name."""
DATASETS = ("cifar10-valid", "cifar10", "cifar100", "ImageNet16-120")
"""In the official sense: `cifar10` is trained on all 50,000 images, `cifar10-valid` on half of them."""
SETS = ("x-valid", "x-test", "ori-test")
DISTILLATION = "nst"
_NEEDED = frozenset({"train_losses", "train_acc1es", "train_times", "valid_losses", "valid_acc1es"})
_CELL = re.compile(r"\|[a-z0-9_]+~0\|\+(?:\|[a-z0-9_]+~[01]){2}\|\+(?:\|[a-z0-9_]+~[012]){3}\|")
_FILE_NUMBER = re.compile(r"(?<!\d)(\d{5,6})(?!\d)")
_FILE_SEED = re.compile(r"seed[-_=]?(\d{1,5})(?!\d)")
_DEPTH = 8


class Training(NamedTuple):
    """One training of one cell; arrays have one value an epoch, NaN where it diverged."""

    cell: Cell
    dataset: str
    """One of `DATASETS`."""
    seed: int
    train_loss: Floats
    """Mean over the epoch's batches of cross-entropy + 25 x NST, shape (12,)."""
    train_accuracy: Floats
    """Percent, of the same batches, shape (12,)."""
    seconds: Floats
    """Training time of each epoch on the authors' GPU, shape (12,)."""
    loss: Mapping[str, Floats]
    """The objective on the images of each of `SETS` that the record has, shape (12,)."""
    accuracy: Mapping[str, Floats]
    """Percent, on the same sets, shape (12,)."""


def read_trainings(path: Path, dataset: str | None = None) -> list[Training]:
    """Read every complete training of a record or a dump, in the order of data set, cell and seed.

    With `dataset`, records that do not name theirs are of that one. Raises `DataError` where the file
    is damaged, asks for code, holds no records (then the message shows what it holds) or two different
    ones of the same training.
    """
    with opened(path) as file:
        content = loads(file.read(), _known(), path.name)
    found: dict[tuple[str, int, int], Training] = {}
    unfinished = 0
    for names, record in _records(content, ()):
        training = _training(names, record, dataset, path.name)
        if training is None:
            unfinished += 1
            continue
        key = (training.dataset, training.cell.index, training.seed)
        other = found.setdefault(key, training)
        if other is not training and not same(other, training):
            raise DataError(
                f"{path.name} holds two different trainings of cell {key[1]} on {key[0]} with seed {key[2]}"
            )
    if not found:
        raise DataError(
            f"{path.name} holds no complete records of MF-KD's trainings"
            + (f" ({unfinished} incomplete ones)" if unfinished else "")
            + f"; it is a {structure(content)}"
        )
    return [found[key] for key in sorted(found)]


def same(one: Training, other: Training) -> bool:
    """Whether two trainings agree to the last digit in all that was read, their seconds apart."""
    pairs = [(one.train_loss, other.train_loss), (one.train_accuracy, other.train_accuracy)]
    if one.loss.keys() != other.loss.keys():
        return False
    pairs += [(one.loss[name], other.loss[name]) for name in one.loss]
    pairs += [(one.accuracy[name], other.accuracy[name]) for name in one.accuracy]
    return all(np.array_equal(first, second, equal_nan=True) for first, second in pairs)


def columns(trainings: Sequence[Training], provenance: Mapping[str, Any]) -> list[Column]:
    """Turn trainings into the columns `nst@1/12` to `nst@12`, seconds as measured and summed by epoch.

    `x-valid` becomes validation, with the readings `train_loss`, `train_accuracy` and `valid_loss`; `x-test`, and
    `ori-test` of models trained on all images of CIFAR-10, become test. Raises `DataError` where an
    accuracy is no whole number of images.
    """
    result = []
    for dataset in DATASETS:
        chosen = [training for training in trainings if training.dataset == dataset]
        sets: list[tuple[Split, str, str, int]] = []
        if dataset in VALID:
            task, images = VALID[dataset]
            sets.append(("valid", task, "x-valid", images))
        if dataset in TEST:
            task, name, images = TEST[dataset]
            sets.append(("test", task, name, images))
        for split, task, name, images in sets:
            having = [training for training in chosen if name in training.accuracy]
            for epoch in range(EPOCHS if having else 0):
                place = Place(task, Fidelity(DISTILLATION, epoch + 1, EPOCHS), split, images)
                result += _columns_at(place, having, name, epoch, provenance)
    return result


def _columns_at(
    place: Place, trainings: Sequence[Training], name: str, epoch: int, provenance: Mapping[str, Any]
) -> list[Column]:
    percent = np.array([training.accuracy[name][epoch] for training in trainings])
    diverged = ~np.isfinite(percent)
    told = f"MF-KD's records, {name}@{epoch}"
    counts = whole_counts(np.where(diverged, 0.0, percent), place.images, told)
    readings: dict[str, tuple[Floats, int | None]] = {}
    if place.split == "valid":
        train_images = TASKS[place.task].train_images
        readings = {
            "train_accuracy": (np.array([each.train_accuracy[epoch] for each in trainings]), train_images),
            "train_loss": (np.array([each.train_loss[epoch] for each in trainings]), None),
            "valid_loss": (np.array([each.loss[name][epoch] for each in trainings]), None),
        }
    return measured_columns(
        place,
        [training.cell.index for training in trainings],
        [training.seed for training in trainings],
        np.where(diverged, -1, counts),
        [round(float(training.seconds[: epoch + 1].sum()) * 1e6) for training in trainings],
        readings,
        provenance,
    )


def structure(content: Any, depth: int = 4) -> str:
    """Describe nested containers by their kinds, sizes and first names, in one line."""
    kind = type(content).__name__
    if isinstance(content, np.ndarray | np.generic):
        return f"{kind} of {content.dtype} {content.shape}"
    if not isinstance(content, dict | list | tuple | set):
        return kind
    if not content or not depth:
        return f"{kind} of {len(content)}"
    if isinstance(content, dict):
        listed = [f"{_shown(key)}: {structure(content[key], depth - 1)}" for key in list(content)[:3]]
    else:
        listed = [structure(value, depth - 1) for value in list(content)[:1]]
    more = ", ..." if len(content) > len(listed) else ""
    return f"{kind} of {len(content)} ({', '.join(listed)}{more})"


def _shown(key: Any) -> str:
    if isinstance(key, tuple):
        return f"({', '.join(map(_shown, key[:4]))})"
    return f"{key[:60]!r}" if isinstance(key, str) else f"{key!r:.20}" if isinstance(key, int) else "..."


def _known() -> Known:
    """Plain values, NumPy scalars and arrays, and the containers that scripts like to dump."""
    names = numpy_names()
    names["collections", "defaultdict"] = Sealed(_container)
    names["pathlib", "PosixPath"] = Sealed(_path)
    for module in ("builtins", "__builtin__"):
        names[module, "dict"] = Sealed(_container)
        names[module, "list"] = Sealed(_container)
    return names


def _container(*_: Any) -> dict[Any, Any]:
    """A `defaultdict` without what it makes of absent keys."""
    return {}


def _path(*parts: Any) -> str:
    return "/".join(part for part in parts if isinstance(part, str))


def _records(content: Any, names: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], dict[Any, Any]]]:
    """Every dictionary that has the fields of a record, with the names on the way to it."""
    if len(names) > 6 * _DEPTH:
        raise DataError("the records are nested deeper than any program dumps them")
    if isinstance(content, dict):
        if content.keys() >= _NEEDED:
            yield names, content
            return
        beside = tuple(value for value in content.values() if isinstance(value, str) and _CELL.search(value))
        for key, value in content.items():
            own = key if isinstance(key, tuple) else (key,)
            yield from _records(value, (*names, *beside[:2], *own[:4]))
    elif isinstance(content, list | tuple):
        beside = tuple(value for value in content[:8] if isinstance(value, str))
        for value in content:
            if isinstance(value, dict | list | tuple):
                yield from _records(value, (*names, *beside, None))


def _training(
    names: Sequence[Any], record: Mapping[Any, Any], dataset: str | None, place: str
) -> Training | None:
    """The training that a record describes; None where it was not trained to its end."""
    try:
        cell = _cell(names, record)
        if cell is None:
            raise DataError(f"a record at {_shown(tuple(names))} names no cell")
        if len(record["train_losses"]) < EPOCHS or int(record.get("total_epoch", EPOCHS)) != EPOCHS:
            return None
        accuracy = {name: _by_set(record["valid_acc1es"], name) for name in SETS}
        kept = [name for name, values in accuracy.items() if values is not None]
        return Training(
            cell,
            _dataset(names, dataset),
            _seed(names),
            _by_epoch(record["train_losses"]),
            _by_epoch(record["train_acc1es"]),
            _by_epoch(record["train_times"]),
            {name: _needed(_by_set(record["valid_losses"], name)) for name in kept},
            {name: _needed(accuracy[name]) for name in kept},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{place}: a record at {_shown(tuple(names))} is of another form: {error!r}"
        ) from error


def _cell(names: Sequence[Any], record: Mapping[Any, Any]) -> Cell | None:
    """The cell of a record by the text of its network and the names on the way to it, which must agree."""
    found = {
        Cell.parse(match[0])
        for text in (record.get("net_string"), record.get("arch_str"), *names)
        if isinstance(text, str) and (match := _CELL.search(text))
    }
    if len(found) > 1:
        raise ValueError(f"it is of {' and of '.join(str(cell) for cell in found)}")
    if found:
        return found.pop()
    for name in reversed(names):
        number = _FILE_NUMBER.search(name) if isinstance(name, str) else None
        index = int(number[1]) if number else name
        if type(index) is int and 0 <= index < SPACE_SIZE:
            return Cell.from_index(index)
    return None


def _dataset(names: Sequence[Any], given: str | None) -> str:
    for name in reversed(names):
        if name in DATASETS:
            return str(name)
    if given is None:
        raise DataError(f"a record at {_shown(tuple(names))} names no data set")
    return given


def _seed(names: Sequence[Any]) -> int:
    for name in reversed(names):
        if isinstance(name, str) and (match := _FILE_SEED.search(name)):
            return int(match[1])
    return SEED


def _by_epoch(values: Mapping[Any, Any] | Sequence[Any]) -> Floats:
    """Values by epoch from 0, or in a list."""
    chosen = [values[epoch] for epoch in range(EPOCHS)]
    return np.array([np.nan if value is None else float(value) for value in chosen])


def _by_set(values: Mapping[Any, Any], name: str) -> Floats | None:
    """Values by `SET@EPOCH`; None where the record has not this set at every epoch."""
    keys = [f"{name}@{epoch}" for epoch in range(EPOCHS)]
    if any(key not in values for key in keys):
        return None
    return np.array([np.nan if values[key] is None else float(values[key]) for key in keys])


def _needed(values: Floats | None) -> Floats:
    if values is None:
        raise ValueError("accuracies without losses")
    return values


_REPOSITORY = "IlyaTrofimov/AutoDL-Projects"
_COMMIT = "e2d01023c6397c047003f130ac32be8857c3142e"
_LICENCE = "MIT (the repository's)"
SHIPPED = "mf-kd-authors"
"""Name of the table that ships: the cells 0 to 199 on cifar100."""
_PROVENANCE = {
    "source": "measured",
    "origin": f"MF-KD's authors, {_REPOSITORY}",
    "clock": "the authors' GPU, within 1 % of the table's",
}
_NOTES = (
    "12 epochs of cross-entropy + 25 x NST from the ResNet-like cell, batches of 256, the full network and all "
    "training images; train readings are means over the epoch's batches.",
    "Seconds are the authors' own, without the validation passes: 18.1 s an epoch for the cells 0 to 199 on "
    "CIFAR-100, where NAS-Bench-201's table has 17.9 s without distillation.",
)


def write_records(records: Path, folder: Path) -> Table:
    """Write the table that ships from a folder of the authors' records, `NNNNN.pth` for the cell NNNNN.

    Raises `DataError` where a record is damaged or of another cell than its name says.
    """
    files = sorted(records.glob("*.pth"))
    trainings = []
    for file in files:
        for training in read_trainings(file):
            if f"{training.cell.index:05d}" != file.stem:
                raise DataError(f"{file} is of the cell {training.cell.index}")
            trainings.append(training)
    sums = "".join(f"{sha256_of(file)}  {file.name}\n" for file in files)
    card = {
        "title": f"MF-KD's authors: {len(files)} cells on cifar100, 12 epochs with neuron selectivity transfer",
        "source": f"{_REPOSITORY}/{_COMMIT}/output/trofim-NST/specifics/LESS-CELL-16-5/seed-0111.pth",
        "source_sha256": hashlib.sha256(sums.encode()).hexdigest(),
        "licence": _LICENCE,
        "attribution": [
            "I. Trofimov, N. Klyuchnikov, M. Salnikov, A. Filippov and E. Burnaev, "
            "Multi-Fidelity Neural Architecture Search With Knowledge Distillation, IEEE Access 11, 2023"
        ],
        "rebuild": "python -m nasbench_kd.sources.mf_kd FOLDER_OF_RECORDS",
        "notes": list(_NOTES),
    }
    return write_table(folder, SHIPPED, columns(trainings, _PROVENANCE), card)


def _convert(files: tuple[Path, ...], folder: Path) -> None:
    trainings = []
    for dataset, file in zip(("cifar100", "cifar10-valid", "ImageNet16-120"), files, strict=True):
        trainings += read_trainings(file, dataset)
    converted = columns(trainings, _PROVENANCE)
    _compare_with_what_ships(converted)
    write_table(folder, SOURCE.name, converted, {**SOURCE.card(), "notes": list(_NOTES)})


def _compare_with_what_ships(converted: Sequence[Column]) -> None:
    """Raise `DataError` where a training differs from the same one of the table that ships."""
    (shipped,) = (table for table in tables("embedded") if table.name == SHIPPED)
    by_name = {(each.task, each.fidelity, each.split, each.signals): each for each in converted}
    for column in shipped.columns:
        other = by_name.get((column.task, column.fidelity, column.split, column.signals))
        for signal in column.signals if other is not None else ():
            assert other is not None
            known = dict(zip(_keys(column), column.values(signal).tolist(), strict=True))
            for key, value in zip(_keys(other), other.values(signal).tolist(), strict=True):
                if known.get(key, value) != value:
                    raise DataError(
                        f"cell {key[0]} on {column.task} at {column.fidelity} has the {signal} {value:.7g} in the "
                        f"dumps, and {known[key]:.7g} in the authors' own record that ships: another training"
                    )


def _keys(column: Column) -> list[tuple[int, int]]:
    return list(zip(column.rows["cell"].tolist(), column.rows["seed"].tolist(), strict=True))


def _dump(folder: str, blob: str) -> RemoteFile:
    return RemoteFile(_REPOSITORY, _COMMIT, f"output/{folder}/all_dumps.pickle.gz", blob, None)


SOURCE = PublicSource(
    name="mf-kd",
    title="MF-KD's authors: 12 epochs with neuron selectivity transfer, all that they trained",
    licence=_LICENCE,
    files=(
        _dump("trofim-NST", "7ad77dae0bb6e9a14c5a21d83c713aaee90aac4a"),
        _dump("trofim-NST-c10", "7f59f37469292e5d3c4f6abf04829c5bdff3b784"),
        _dump("trofim-NST-imagenet", "f3ed5a4f8e81c5eacbba8ee8d9a930eedebcf6b1"),
    ),
    convert=_convert,
    optional=True,
)
"""The public source: three dumps, pinned by the names of their git blobs."""


if __name__ == "__main__":
    default = EMBEDDED_FOLDER / "mf_kd_authors"
    written = write_records(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else default)
    print(
        f"{written.name}: {sum(len(each.rows) for each in written.columns)} entries, sha256 {written.sha256}"
    )
