"""A damaged file is refused with an error of the project, or reads exactly as the whole one does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nasbench_kd as nk
from nasbench_kd.errors import GateError
from nasbench_kd.execution.jobs import run_seed
from nasbench_kd.execution.runs import RunRecord, StoredRuns, decode, encode, read_runs, to_table, write_runs
from nasbench_kd.execution.suite import parse_suite
from nasbench_kd.gate.reference import check_reference, table_versions
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.hardware import COSTS, HardwareCosts, write_costs
from nasbench_kd.tables.patch import FORMAT as PATCH_FORMAT
from nasbench_kd.tables.patch import merge, read_patch
from nasbench_kd.tables.table import Table, write_table
from tests.fuzz.inputs import damaged_bytes, fuzzed, only_typed, replaced_anywhere
from tests.performance.speed import compare_speed, read_ratios

SUITE = parse_suite(
    'name = "fuzz"\ntasks = ["cifar10"]\nbudgets = ["3 evaluations"]\nseeds = 2\n'
    '[[optimizers]]\nname = "random"\noptimizer = "nasbench_kd_baselines.random_search:RandomSearch"\n'
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of stored runs, a valid reference of `SUITE`."""
    path = tmp_path_factory.mktemp("runs") / "runs.parquet"
    task = nk.load("cifar10", data="embedded")
    records = [
        RunRecord(
            "random",
            repetition,
            nk.search(
                "nasbench_kd_baselines.random_search:RandomSearch",
                task=task,
                budget="3 evaluations",
                seed=run_seed("fuzz", "random", "cifar10", repetition),
            ),
        )
        for repetition in range(2)
    ]
    write_runs(path, to_table(records), {"suite": SUITE.describe(), "tables": table_versions(SUITE)})
    check_reference(read_runs(path), SUITE, path)
    return path


@fuzzed
@given(data=st.data())
def test_stored_runs(runs: Path, data: st.DataObject):
    whole = read_runs(runs)
    damaged = runs.with_name("damaged.parquet")
    damaged.write_bytes(data.draw(damaged_bytes(runs.read_bytes())))
    read = only_typed(read_runs, damaged)
    if read is not None:
        assert read.metadata == whole.metadata
        assert read.table.equals(whole.table)


@pytest.fixture(scope="module")
def payload() -> bytes:
    """One run as the store holds it."""
    task = nk.load("cifar10", data="embedded")
    return encode(
        RunRecord(
            "random",
            0,
            nk.search("nasbench_kd_baselines.random_search:RandomSearch", task=task, budget="3 evaluations"),
        )
    )


@fuzzed
@given(data=st.data())
def test_single_stored_runs(payload: bytes, data: st.DataObject):
    read = only_typed(decode, data.draw(damaged_bytes(payload)))
    assert read is None or read.num_rows == 1


@fuzzed
@given(data=st.data())
def test_references_of_any_description(runs: Path, data: st.DataObject):
    stored = read_runs(runs)
    metadata = data.draw(replaced_anywhere(dict(stored.metadata)))
    described = metadata if isinstance(metadata, dict) else {}
    only_typed(check_reference, StoredRuns(stored.table, described), SUITE, runs)
    same = {name: described.get(name) == stored.metadata[name] for name in ("suite", "tables")}
    if not same["tables"]:
        assert refused(StoredRuns(stored.table, described), runs)


def refused(stored: StoredRuns, path: Path) -> bool:
    try:
        check_reference(stored, SUITE, path)
    except GateError:
        return True
    return False


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small table with two columns."""
    folder = tmp_path_factory.mktemp("tables") / "whole"
    rows = make_rows([0, 1, 5], [777, 777, 777], [5000, 6000, 7000], [10**9, 2 * 10**9, 3 * 10**9])
    columns = [
        Column("cifar10", nk.Fidelity.parse("none@200"), split, 10_000, rows, {"source": "measured"})
        for split in ("valid", "test")
    ]
    write_table(folder, "small", columns, {"title": "a small table"})
    return folder


@pytest.mark.parametrize("file", ["card.json", "entries.npy"])
def test_tables_with_damaged_files(table: Path, file: str):
    whole = Table.open(table)
    folder = table.with_name("damaged")

    @fuzzed
    @given(data=st.data())
    def damage(data: st.DataObject) -> None:
        shutil.copytree(table, folder, dirs_exist_ok=True)
        (folder / file).write_bytes(data.draw(damaged_bytes((table / file).read_bytes())))
        read = only_typed(Table.open, folder)
        if read is not None and file == "entries.npy":
            assert read.sha256 == whole.sha256
            for one, other in zip(read.columns, whole.columns, strict=True):
                np.testing.assert_array_equal(one.rows, other.rows)

    damage()


@fuzzed
@given(data=st.data())
def test_tables_of_any_card(table: Path, data: st.DataObject):
    folder = table.with_name("described")
    shutil.copytree(table, folder, dirs_exist_ok=True)
    card = data.draw(replaced_anywhere(json.loads((table / "card.json").read_text())))
    (folder / "card.json").write_text(json.dumps(card))
    read = only_typed(Table.open, folder)
    if read is not None:
        for column in read.columns:
            assert len(column.accuracies()) == len(column.rows)


def test_a_flipped_bit_of_the_shipped_table_is_noticed(tmp_path: Path):
    """One flip each in a few hundred places of the file that everybody's results rest on."""
    shipped = next(folder.parent for folder in sorted(EMBEDDED_FOLDER.glob("*/entries.npy")))
    folder = tmp_path / "flipped"
    shutil.copytree(shipped, folder)
    data = bytearray((folder / "entries.npy").read_bytes())
    header = 128
    for place in np.random.default_rng(0).integers(header, len(data), size=60).tolist():
        data[place] ^= 4
        (folder / "entries.npy").write_bytes(data)
        assert only_typed(Table.open, folder) is None
        data[place] ^= 4


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hardware costs of every cell, all 1."""
    folder = tmp_path_factory.mktemp("hardware") / "whole"
    tasks = ("cifar10", "cifar100", "imagenet16-120")
    write_costs(folder, np.ones((3, len(COSTS), SPACE_SIZE)), tasks, {"title": "ones"})
    return folder


@fuzzed
@given(data=st.data())
def test_hardware_costs_with_a_damaged_header_or_card(costs: Path, data: st.DataObject):
    folder = costs.with_name("damaged")
    folder.mkdir(exist_ok=True)
    header = data.draw(damaged_bytes((costs / "costs.npy").read_bytes()[:128]))
    card = data.draw(replaced_anywhere(json.loads((costs / "hardware.json").read_text())))
    (folder / "costs.npy").write_bytes(header + bytes(1000))
    (folder / "hardware.json").write_text(json.dumps(card))
    assert only_typed(HardwareCosts.open, folder) is None


PATCH = {
    "format": PATCH_FORMAT,
    "patches": [
        {
            "task": "cifar10",
            "curve": "kd@3 images=2000 size=8",
            "valid_images": 100,
            "provenance": {"clock": {"scale": 0.5}, "device": "here"},
            "entries": [
                {
                    "cell": cell,
                    "seed": 777,
                    "valid_correct": [10, 20, 30],
                    "seconds": [1.0, 1.5, 1.25],
                    "status": "ok",
                }
                for cell in (2, 5)
            ],
        }
    ],
}


@fuzzed
@given(data=st.data())
def test_patches(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """What can be read can be merged, and opens again as a table."""
    folder = tmp_path_factory.getbasetemp() / "patches"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    text = json.dumps(data.draw(replaced_anywhere(PATCH)))
    (folder / "patch.json").write_bytes(data.draw(st.just(text.encode()) | damaged_bytes(text.encode())))
    columns = only_typed(read_patch, folder / "patch.json")
    merged = only_typed(merge, [folder / "patch.json"], folder / "table")
    assert (columns is None) <= (merged is None)
    if merged is not None:
        assert Table.open(folder / "table").sha256 == merged[0].sha256


RATIOS = {
    "format": "nasbench-kd speed ratios 1",
    "ratios": {"test_a": {"peer": {"measured": 8.0, "at_least": 4.0}}},
}
RESULTS = {"benchmarks": [{"name": "test_a", "extra_info": {"times peer": 7.5}}]}


@fuzzed
@given(ratios=replaced_anywhere(RATIOS), results=replaced_anywhere(RESULTS))
def test_speed_ratios(tmp_path_factory: pytest.TempPathFactory, ratios: object, results: object):
    folder = tmp_path_factory.getbasetemp()
    (folder / "ratios.json").write_text(json.dumps(ratios))
    (folder / "results.json").write_text(json.dumps(results))
    for stored in (only_typed(read_ratios, folder / "ratios.json") or {}).values():
        assert stored.at_least > 0
    for each in only_typed(compare_speed, folder / "results.json", folder / "ratios.json") or ():
        assert each.ratio > 0
