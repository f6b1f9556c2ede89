"""Reads official NAS-Bench-201 and NATS-Bench files one architecture at a time, in bounded memory.

All of them hold, for each architecture and training schedule, the plain state of an `ArchResults`
of the official packages: a dictionary from (data set, seed) to the state of a `ResultsCount`. The
packages load the whole file into objects (28 GB for NAS-Bench-201 v1.1); here every state is
handed over and emptied as soon as it is complete. Nothing of a pickle is run, and weights that a
file may hold are skipped.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

from nasbench_kd.errors import DataError
from nasbench_kd.pickles import Known, Sealed, Unpickler, loads, look_up, numpy_names
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.spaces.nats_size import parse_official
from nasbench_kd.spaces.space import Architecture

EXTENSIONS = (".pickle.pbz2", ".pickle")
"""Files of a NATS-Bench folder, as they are published and decompressed."""
META_FILES = tuple(f"meta{extension}" for extension in EXTENSIONS)
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_MARKS = (b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19", b"L%dL" % _TORCH_MAGIC)
"""How the older form of `torch.save` begins, in the protocols from 2 on and in those before."""
_BUFFER = 1 << 20
_DAMAGES = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError)
"""What the decompressors raise where a file is cut or altered."""


class Trial(NamedTuple):
    """One training of one architecture, as a file gives it."""

    cell: Architecture
    """A `Cell` of the topology space, or a network of `nats_size.SPACE`."""
    dataset: str
    """`cifar10-valid`, `cifar10`, `cifar100` or `ImageNet16-120`, in the official sense."""
    seed: int
    epochs: int
    """Length of the schedule."""
    accuracies: Mapping[str, float | None]
    """Percent, by `SET@EPOCH` (epochs from 0), as in `x-valid@11`."""
    epoch_seconds: Mapping[int, float] | None
    """Training seconds of each epoch; None where the file does not say."""
    train_accuracies: Mapping[int, float | None]
    """Percent by epoch from 0, over the epoch's own batches; empty where the file does not say."""
    train_losses: Mapping[int, float | None]
    """Cross-entropy, of the same batches."""
    losses: Mapping[str, float | None]
    """Cross-entropy by `SET@EPOCH`."""


Consume = Callable[[Trial], None]


def read_archive(path: Path, consume: Consume) -> None:
    """Hand every trial of an official file or folder to `consume`.

    Reads a NATS-Bench folder (`meta.pickle.pbz2` and one file for each architecture), a NATS-Bench
    `.pickle.pbz2` file and a NAS-Bench-201 `.pth` file (both forms of `torch.save`), of any pickle
    protocol, decompressed or compressed otherwise. Raises `DataError` where the file is damaged, of
    another kind, or asks for names that results do not need.
    """
    if path.is_dir():
        _read_folder(path, consume)
        return
    with opened(path) as file:
        _load_streaming(file, consume, path.name)


def _read_folder(folder: Path, consume: Consume) -> None:
    found = [file for extension in EXTENSIONS for file in folder.glob(f"*{extension}")]
    files = sorted(file for file in found if file.name not in META_FILES)
    if not files:
        raise DataError(f"{folder} holds no file {'0' * 6}{EXTENSIONS[0]} or the like")
    for path in files:
        with opened(path) as file:
            schedules = loads(file.read(), _known(), path.name)
        if not isinstance(schedules, dict):
            raise DataError(f"{path.name} holds a {type(schedules).__name__}, not results by schedule")
        for state in schedules.values():
            _hand_over(state, consume, path.name)


@contextmanager
def decompressed(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file, unpacked where it is packed by bzip2, gzip or xz; raises `DataError`."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    try:
        with file as raw:
            magic = raw.peek(8)[:8]
            if magic[:3] == b"BZh":
                with bz2.BZ2File(raw) as packed:
                    yield io.BufferedReader(packed, _BUFFER)
            elif magic[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=raw) as packed:
                    yield io.BufferedReader(packed, _BUFFER)
            elif magic[:6] == b"\xfd7zXZ\x00":
                with lzma.LZMAFile(raw) as packed:
                    yield io.BufferedReader(packed, _BUFFER)
            else:
                yield raw
    except DataError:
        raise
    except _DAMAGES as error:
        raise DataError(f"{path.name} is damaged: {type(error).__name__}: {error}") from error


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file at the start of its main pickle, whatever it is packed in; raises `DataError`."""
    with decompressed(path) as file:
        head = file.peek(64)[:64]
        if head[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
                if len(names) != 1:
                    raise DataError(f"{path.name} is a zip file, but not one of torch.save")
                with archive.open(names[0]) as member:
                    yield io.BufferedReader(member, _BUFFER)  # type: ignore[type-var]
        else:
            if is_old_torch(head):
                _skip_head(file, path.name)
            yield file


def is_old_torch(head: bytes) -> bool:
    """Whether a file that begins so is in the older form of `torch.save`."""
    return any(mark in head[:48] for mark in _TORCH_MARKS)


def _skip_head(file: IO[bytes], place: str) -> None:
    """Read the three small pickles before the main one in the older form of `torch.save`."""
    try:
        magic, _protocol, _system = (Unpickler(file, {}).load() for _ in range(3))
    except Exception as error:
        raise DataError(f"{place} is not a file of torch.save: {error}") from error
    if magic != _TORCH_MAGIC:
        raise DataError(f"{place} is not a file of torch.save")


def _skipped(*_: Any) -> None:
    """Stand in for a tensor of weights."""


_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")


def _known() -> Known:
    names = numpy_names()
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
        names["torch._utils", name] = Sealed(_skipped)
    for kind in _STORAGES:
        names["torch", f"{kind}Storage"] = Sealed(_skipped)
    return names


class _Memo(list[Any]):
    """The unpickler's memo as a list that keeps each string once; keys come in order, from 0."""

    def __init__(self) -> None:
        super().__init__()
        self._strings: dict[str, str] = {}

    def __setitem__(self, key: Any, value: Any) -> None:
        if type(value) is str:
            value = self._strings.setdefault(value, value)
        if key == len(self):
            self.append(value)
        else:
            super().__setitem__(key, value)


_STATE = frozenset({"arch_index", "arch_str", "all_results"})
"""What the state of an `ArchResults` holds, each value complete when it is set."""


class _StreamingUnpickler(pickle._Unpickler):
    """Hands over the state of each `ArchResults` when it is complete, and empties it."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes], consume: Consume, place: str) -> None:
        super().__init__(file)
        self.memo = _Memo()
        self._consume, self._place, self._known = consume, place, _known()

    def find_class(self, module: str, name: str) -> Any:
        return look_up(self._known, module, name)

    def persistent_load(self, _pid: Any) -> None:
        return None

    def load_setitems(self) -> None:
        """Fill a dictionary as the base class does; then look whether it is a complete state."""
        super().load_setitems()  # type: ignore[misc]
        self._look()

    def load_setitem(self) -> None:
        """The same for one item, as protocol 0 writes them all."""
        super().load_setitem()  # type: ignore[misc]
        self._look()

    def _look(self) -> None:
        state = self.stack[-1]  # type: ignore[attr-defined]
        if type(state) is dict and state.keys() >= _STATE:
            _hand_over(state, self._consume, self._place)
            _empty(state)

    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.SETITEM[0]] = load_setitem


def _load_streaming(file: IO[bytes], consume: Consume, place: str) -> None:
    seen = 0

    def count(trial: Trial) -> None:
        nonlocal seen
        seen += 1
        consume(trial)

    try:
        _StreamingUnpickler(file, count, place).load()
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    except Exception as error:
        raise DataError(f"{place} is damaged or not a pickle: {type(error).__name__}: {error}") from error
    if not seen:
        raise DataError(f"{place} holds no results of NAS-Bench-201 or NATS-Bench")


def _empty(container: Any) -> None:
    """Clear nested dictionaries; the unpickler's memo keeps the emptied ones."""
    if isinstance(container, dict):
        for value in container.values():
            _empty(value)
        container.clear()


def _hand_over(state: Any, consume: Consume, place: str) -> None:
    """Turn the state of an `ArchResults` into trials."""
    try:
        text = state["arch_str"]
        cell = Cell.parse(text) if "|" in text else parse_official(text)
        if cell.index != state["arch_index"]:
            raise DataError(
                f"architecture {state['arch_index']} is {cell}, which has the official index {cell.index}"
            )
        for (dataset, seed), result in state["all_results"].items():
            trial = Trial(
                cell,
                str(dataset),
                int(seed),
                int(result["epochs"]),
                result["eval_acc1es"],
                result.get("train_times"),
                result.get("train_acc1es") or {},
                result.get("train_losses") or {},
                result.get("eval_losses") or {},
            )
            consume(trial)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{place} holds results of another form: {error!r}") from error
