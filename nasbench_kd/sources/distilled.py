"""Rebuilds the tables of distilled students: Auto-Prox's transformers and DisWOT's residual networks.

Run `python -m nasbench_kd.sources.distilled [FOLDER]`; the files come from the public address, or from the
mirror that `NASBENCH_KD_MIRROR` names.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd import pickles
from nasbench_kd.errors import DataError
from nasbench_kd.sources.origin import RemoteFile, whole_counts
from nasbench_kd.sources.pull import Transfer, base_address, fetch
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd.spaces.vision_transformers import AUTOFORMER, LAYERS, PIT
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.distilled import PLAIN_SHARE, TASKS, prices
from nasbench_kd.tasks.task import Task

FOLDER = Path(__file__).parent.parent / "tables" / "distilled"
SEED = 1
"""Stands for the one training of each network; the sources' own seeds are 1 (Auto-Prox) and not stated (DisWOT)."""
_AUTO_PROX, _DISWOT = "lliai/Auto-Prox-AAAI24", "lilujunai/DisWOT-CVPR2023"
_AUTO_PROX_COMMIT = "90ed458eff6948a6f0d23e440a8d21bbec50d091"
_DISWOT_COMMIT = "dffe4e6118a2ab6a5ed89c9495e1ee2b6c808afa"
AUTO_PROX_FILES = tuple(
    RemoteFile(_AUTO_PROX, _AUTO_PROX_COMMIT, f"gt_results/{name}.pth", checksum, None)
    for name, checksum in (
        ("gt_autoformer", "712ad277546d9f7f565ce07885be7e0b98dcd8d0724fdd1120f595b517436eca"),
        ("gt_autoformer_2", "05f5df6a41f338fb5f47eafebfc8758c75e451606856b278ccda1c60b26e7bca"),
        ("gt_pit", "bdda89841d4105f99ab759e3243e7a2402929ba7a8430dac12a50256aa533bb2"),
    )
)
DISWOT_FILES = tuple(
    RemoteFile(_DISWOT, _DISWOT_COMMIT, f"exps/s1-gt-{name}.txt", checksum, None)
    for name, checksum in (
        ("cls", "465d61399626e3b6abe08b2dbabcd2a09026b6ed5e83510d3ef87b14822317ad"),
        ("kd", "48d218437e37318b6685c8c489a380011e964cfe0584228d8a9bd530911705b6"),
    )
)
_RULE = (
    "Prices are by a rule and not measured, since the source publishes no times: an hour is one training of the "
    "space's mean network at the target, half of it by parameters and half by depth; a training without "
    f"distillation costs {PLAIN_SHARE:g} of a distilled one; the teacher costs one mean training."
)
_ONCE = (
    "Every network was trained once: the noise between trainings is not known. The accuracies are those of the "
    "test images, from which the source held nothing out."
)
_IMAGES = {"c100": "cifar100", "flower": "flowers", "chaoyang": "chaoyang"}


def read_records(path: Path) -> list[Mapping[str, Any]]:
    """Records of a file of Auto-Prox: a zip of a pickle of built-in types. Raises `DataError` on any other."""
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (each for each in archive.namelist() if each.endswith("/data.pkl"))
            records = pickles.loads(archive.read(name), {}, path.name)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise DataError(f"{path} is no file of records: {error}") from error
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise DataError(f"{path} holds no list of records")
    return records


def autoformer_codes(network: Mapping[str, Any]) -> list[int]:
    """Codes of an AutoFormer network from the source's description; raises `DataError`."""
    absent = LAYERS - int(network["depth"])
    layers = [
        *(f"{heads}" for heads in network["num_heads"]),
        *["none"] * absent,
        *(f"{ratio:.1f}" for ratio in network["mlp_ratio"]),
        *["none"] * absent,
    ]
    return _positions(AUTOFORMER, [str(network["hidden_dim"]), str(network["depth"]), *layers])


def pit_codes(network: Mapping[str, Any]) -> list[int]:
    """Codes of a PiT network from the source's description; raises `DataError`."""
    named = (network["base_dim"], network["mlp_ratio"], *network["depth"], *network["num_heads"])
    return _positions(PIT, list(map(str, named)))


def read_accuracies(path: Path) -> npt.NDArray[np.float64]:
    """Accuracies of DisWOT's networks in percent, in the order of the space, shape (64,); raises `DataError`."""
    space = TASKS["kd-resnet"].space
    found: dict[int, float] = {}
    for line in path.read_text(encoding="ascii").splitlines():
        blocks, accuracy = line.split()
        found[space.from_codes(_positions(space, list(blocks))).index] = float(accuracy)
    if sorted(found) != list(range(len(space))):
        raise DataError(f"{path.name} names {len(found)} of {len(space)} networks")
    return np.array([found[index] for index in range(len(space))])


def auto_prox_columns(files: Sequence[Path]) -> list[Column]:
    """The columns of Auto-Prox's three files, in the order of `AUTO_PROX_FILES`."""
    first, second, pit = map(read_records, files)
    columns: list[Column] = []
    for space, records, codes_of in (
        (AUTOFORMER, [*first, *second], autoformer_codes),
        (PIT, pit, pit_codes),
    ):
        index = [space.from_codes(codes_of(each["arch"])).index for each in records]
        if index != list(range(len(space))):
            raise DataError(f"the records of {space.name} are not in the order of the space")
        for short, images in _IMAGES.items():
            task = TASKS[f"{space.name}-{images}"]
            for kind in ("kd", "base"):
                known = [each.get(f"{short}_{kind}_acc") for each in records]
                columns.append(_column(task, known, kind == "kd", "Auto-Prox's released results"))
    return columns


def diswot_columns(files: Sequence[Path]) -> list[Column]:
    """The columns of DisWOT's two files, in the order of `DISWOT_FILES`."""
    task = TASKS["kd-resnet"]
    plain, distilled = map(read_accuracies, files)
    return [
        _column(task, values, kind, "DisWOT's released results of its space S1")
        for values, kind in ((distilled.tolist(), True), (plain.tolist(), False))
    ]


def write_tables(folder: Path, auto_prox: Sequence[Path], diswot: Sequence[Path]) -> list[Table]:
    """Write both tables below a folder, from the sources' files in the order of `AUTO_PROX_FILES` and `DISWOT_FILES`.

    Raises `DataError` where a file holds something else than the results of these networks.
    """
    return [
        write_table(
            folder / "auto_prox",
            "auto-prox",
            auto_prox_columns(auto_prox),
            _card(
                "Auto-Prox: vision transformers alone and after distillation from a ResNet-56",
                AUTO_PROX_FILES,
                "Apache-2.0 (the repository's licence file; its README says MIT)",
                "Z. Wei, P. Dong, Z. Hui, A. Li, L. Li, M. Lu, H. Pan and D. Li, Auto-Prox: Training-Free Vision "
                "Transformer Architecture Search via Automatic Proxy Discovery, AAAI 2024",
                "300 epochs of AdamW, batches of 128, images of 224 pixels; the distillation is of features: a "
                "linear map of three layers to the teacher's stages, weight 2.5, no logits. 100 of the 200 "
                "AutoFormer networks have no result without distillation.",
            ),
        ),
        write_table(
            folder / "diswot",
            "diswot",
            diswot_columns(diswot),
            _card(
                "DisWOT: 64 residual networks on CIFAR-100, alone and after distillation from a ResNet-110",
                DISWOT_FILES,
                "Apache-2.0",
                "P. Dong, L. Li and Z. Wei, DisWOT: Student Architecture Search for Distillation WithOut Training, "
                "CVPR 2023",
                "Epochs (240) and batches (64) are the defaults of the released training script; the files of "
                "results do not state them. The distillation is of logits.",
            ),
        ),
    ]


def rebuild(folder: Path, base: str) -> list[Table]:
    """Write both tables below a folder, from files of the public address or a mirror; raises `DataError`."""
    with tempfile.TemporaryDirectory() as downloads:
        auto_prox, diswot = (
            [fetch(file, Path(downloads), Transfer(base)) for file in files]
            for files in (AUTO_PROX_FILES, DISWOT_FILES)
        )
        return write_tables(folder, auto_prox, diswot)


def _positions(space: SearchSpace, names: Sequence[str]) -> list[int]:
    try:
        return [choices.index(name) for choices, name in zip(space.choices, names, strict=True)]
    except ValueError as error:
        raise DataError(f"{', '.join(names)} names no network of {space.name}: {error}") from error


def _column(task: Task, percent: Sequence[float | None], distilled: bool, origin: str) -> Column:
    known = [index for index, value in enumerate(percent) if value is not None]
    values = np.array([value for value in percent if value is not None])
    fidelity = task.target if distilled else task.target.without_distillation()
    counts = whole_counts(values, task.valid_images, f"{task.name} {fidelity}")
    seconds = prices(task)[known] * (1.0 if distilled else PLAIN_SHARE)
    rows = make_rows(known, np.full(len(known), SEED), counts, np.rint(seconds * 1e6))
    provenance = {
        "source": "measured",
        "origin": origin,
        "split": "the source's test images",
        "time": "by a rule, not measured: see the card's notes",
    }
    return Column(task.name, fidelity, "valid", task.valid_images, rows, provenance)


def _card(title: str, files: Iterable[RemoteFile], licence: str, by: str, recipe: str) -> dict[str, Any]:
    listed = list(files)
    return {
        "title": title,
        "source": "; ".join(file.place for file in listed),
        "source_sha256": "; ".join(file.checksum for file in listed),
        "licence": licence,
        "attribution": [by],
        "rebuild": "python -m nasbench_kd.sources.distilled",
        "notes": [recipe, _ONCE, _RULE],
    }


if __name__ == "__main__":
    for table in rebuild(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER, base_address()):
        entries = sum(len(column.rows) for column in table.columns)
        print(f"{table.name}: {entries} entries, sha256 {table.sha256}")
