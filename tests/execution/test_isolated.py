"""With `--isolated` an optimizer finds nothing, and its runs have the bytes that they have without."""

from __future__ import annotations

import json
import os
import socket
import zlib
from pathlib import Path

import pytest

import nasbench_kd
from nasbench_kd.errors import StoreError
from nasbench_kd.execution.jobs import Isolation
from nasbench_kd.execution.runs import read_runs
from nasbench_kd.execution.sandbox import readable_paths, why_not
from nasbench_kd.execution.study import run_suite
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from tests.execution.test_study import RANDOM, outcomes, suite

ONE_TASK = '"cifar10"'
ENFORCED = pytest.mark.skipif(bool(why_not()), reason=f"no Landlock: {why_not()}")
ISOLATIONS: tuple[Isolation, ...] = ("none", "process", "process and files")


def toml(value: object) -> str:
    return json.dumps(value)


@ENFORCED
def test_isolated_runs_are_those_that_are_not(tmp_path: Path) -> None:
    """Of honest optimizers, and of those that fail in every way: reasons and tracebacks, too."""
    many = suite(
        f"random = {RANDOM}",
        'distils = nasbench_kd_baselines.random_search:RandomSearch { fidelity = "nst@12" }',
        "evolution = nasbench_kd_baselines.regularized_evolution:RegularizedEvolution",
        "halving = nasbench_kd_baselines.asha:ASHA",
        "raises = hostile_optimizers:Raises",
        "leaves = hostile_optimizers:SystemExits",
        "exits = hostile_optimizers:Exits { code = 3 }",
        "faults = hostile_optimizers:Segfaults",
        "no text = hostile_optimizers:RaisesWithoutText",
        "constructor = hostile_optimizers:ExitsInItsConstructor",
        "closes = hostile_optimizers:ClosesEverything",
        "text = hostile_optimizers:UnicodeReason",
        "lacks = hostile_optimizers:MissingFidelity",
        seeds=1,
        tasks=ONE_TASK,
        extra="workers = 2",
    )
    tables = {}
    for isolation in ISOLATIONS:
        run_suite(many, tmp_path / isolation, jobs=2, isolation=isolation)
        stored = read_runs(tmp_path / isolation / "runs.parquet")
        tables[isolation] = stored.table
        assert stored.metadata.get("isolation", "none") == isolation
    assert tables["none"].equals(tables["process"])
    assert tables["none"].equals(tables["process and files"])
    assert outcomes(tmp_path / "none")["raises", "cifar10", 0][0] == "failed"


def test_no_results_are_among_what_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, wherever a task has them, and the references that are installed beside the suites."""
    reference = tmp_path / "site-packages" / "nasbench_kd" / "suites" / "reference" / "ci" / "main.parquet"
    reference.parent.mkdir(parents=True)
    reference.touch()
    (library := tmp_path / "site-packages" / "library.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    readable_paths.cache_clear()
    readable = [Path(path) for path in readable_paths("nasbench_kd_baselines.random_search")]
    readable_paths.cache_clear()

    def may_read(path: Path) -> bool:
        return any(path.resolve().is_relative_to(each) for each in readable)

    package = Path(nasbench_kd.__file__).parent
    results = [*package.rglob("*.npy"), *package.rglob("*.parquet"), reference]
    assert len(results) > 5
    assert [path for path in results if may_read(path)] == []
    assert may_read(library)
    assert may_read(package / "tables" / "table.py")


@ENFORCED
@pytest.mark.parametrize(
    ("isolation", "managed"),
    [
        ("none", "memory, load, read, cat, link, trace, write, connect."),
        ("process", "load, read, cat, link, trace, write, connect."),
        ("process and files", "nothing."),
    ],
)
def test_what_an_optimizer_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolation: Isolation, managed: str
) -> None:
    own = tmp_path / "data"
    own.mkdir()
    (own / "results.txt").write_text("of a user")
    monkeypatch.setenv("NASBENCH_KD_DATA", str(own))
    with socket.create_server(("127.0.0.1", 0)) as server:
        folders = toml([str(EMBEDDED_FOLDER), str(own)])
        port, pid = server.getsockname()[1], os.getpid()
        spies = suite(
            f"spies = hostile_optimizers:Spies {{ folders = {folders}, port = {port}, pid = {pid} }}",
            seeds=1,
            tasks=ONE_TASK,
        )
        run_suite(spies, tmp_path / "out", jobs=1, isolation=isolation)
    (_, reason) = outcomes(tmp_path / "out")["spies", "cifar10", 0]
    reason = reason.replace(
        " signal,", ""
    )  # a namespace of processes may keep it from that without isolation
    if os.geteuid() != 0:
        reason = reason.replace(" trace,", "")
    assert reason == f"ValueError in tell: managed: {managed}"
    assert (own / "planted").exists() == (isolation != "process and files")


FORGED = {
    "nothing": "",
    "noise": "\xff\x00 noise",
    "an error of ours": 'e["DataError", "the installed tables changed"]',
    "an error of another kind": 'e["SystemExit", "0"]',
    "half an error": "e[[[",
    "a nested error": "e" + "[" * 100_000,
    "no time": "r[]\n",
    "no row": "r0.5\n" + zlib.compress(b"no row").decode("latin1"),
    "a bomb": "r0.5\n" + zlib.compress(bytes(1 << 20)).decode("latin1"),
}


@pytest.mark.parametrize("isolation", ISOLATIONS[:2])
def test_what_an_optimizer_writes_to_descriptors_ends_its_own_run_only(
    tmp_path: Path, isolation: Isolation
) -> None:
    """It may write the very messages that its process sends: none of them ends the suite."""
    entries = [
        f"{name} {leaves} = hostile_optimizers:WritesToDescriptors "
        f"{{ message = {toml(text)}, leaves = {toml(leaves)} }}"
        for name, text in FORGED.items()
        for leaves in (True, False)
    ]
    forging = suite(
        f"random = {RANDOM}", *entries, seeds=1, tasks=ONE_TASK, extra='wall_clock_cap = "20 seconds"'
    )
    assert run_suite(forging, tmp_path, jobs=2, isolation=isolation).done == len(entries) + 1
    seen = {name: outcome for (name, _, _), outcome in outcomes(tmp_path).items()}
    assert seen.pop("random")[0] == "budget"
    for name in ("nothing False", "nothing True"):
        seen.pop(name)  # nobody forged anything
    assert {ending for ending, _ in seen.values()} == {"failed"}, seen


def test_runs_that_were_not_isolated_do_not_pass_for_isolated_ones(tmp_path: Path) -> None:
    small = suite(seeds=1, tasks=ONE_TASK)
    run_suite(small, tmp_path, jobs=1)
    with pytest.raises(StoreError, match=r'isolation was "none" and is "process"\. .*--rerun'):
        run_suite(small, tmp_path, isolation="process")
    assert run_suite(small, tmp_path, jobs=1, isolation="process", rerun=["random"]).done == 1
