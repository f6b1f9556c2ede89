"""The surrogate on a made-up table whose law is known, and the one that ships."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.cli import app
from nasbench_kd.errors import DataError
from nasbench_kd.spaces.nasbench201 import (
    OPERATIONS,
    SPACE_SIZE,
    Cell,
    code_matrix,
    isomorphism_classes,
    representatives,
)
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER, tables
from nasbench_kd.tables.column import DIVERGED, Column, make_rows
from nasbench_kd.tables.table import Table, write_table
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS
from tests.conftest import ROOT

stats = pytest.importorskip("scipy.stats", reason="needs the extra models")
pytest.importorskip("sklearn", reason="needs the extra models")

from nasbench_kd.surrogate.build import write_surrogate  # noqa: E402
from nasbench_kd.surrogate.features import live_edges  # noqa: E402
from nasbench_kd.surrogate.page import MARKS, quality_markdown, write_into  # noqa: E402

IMAGES = 2500
NONE, NST = "none@1 images=2500 batch=32 size=16 cells=1", "nst@1 images=2500 batch=32 size=16 cells=1"
NOISE, SHARED = 1.2, 1.0
CLASSES = np.array([cell.index for cell in representatives()])


def count(operation: str) -> np.ndarray:
    return (code_matrix() == OPERATIONS.index(operation)).sum(axis=1)


def full(task: str) -> np.ndarray:
    return np.nanmean(open_scorer(task, "embedded").valid, axis=1)


def law(task: str, trainings: int, seed: int) -> np.ndarray:
    """Accuracies of every cell, shape (15625, 2, trainings): 200 epochs, structure, cell and training."""
    rng = np.random.default_rng(seed)
    rank = stats.rankdata(full(task)) / SPACE_SIZE
    structure = 0.8 * count("nor_conv_3x3") - 1.5 * count("avg_pool_3x3") + 2 * (count("skip_connect") > 1)
    cell = SHARED * np.random.default_rng(5).standard_normal(SPACE_SIZE)
    means = np.stack((35 + 5 * rank + structure, 40 + 7 * rank + 1.2 * structure), axis=1)
    noise = NOISE * rng.standard_normal((SPACE_SIZE, 2, trainings))
    accuracy = (means + cell[:, None])[:, :, None] + noise
    return accuracy if task == "cifar10" else accuracy / 2


def seconds() -> np.ndarray:
    return 1.0 + 0.3 * count("nor_conv_3x3") + 0.1 * count("nor_conv_1x1") + 0.05 * count("avg_pool_3x3")


def measured_columns(task: str, classes: np.ndarray, twice: int) -> list[Column]:
    """One training of each class with seed 777, a second one of the first `twice` with seed 888."""
    accuracy = law(task, 2, 1)
    cells = np.concatenate((classes, classes[:twice]))
    which = np.repeat((0, 1), (len(classes), twice))
    columns = []
    for place, fidelity in enumerate((NONE, NST)):
        correct = np.rint(accuracy[cells, place, which] * IMAGES / 100).astype(int)
        times = np.rint(seconds()[cells] * (1 + place) * 1e6)
        rows = make_rows(cells, 777 + 111 * which, correct, times)
        columns.append(Column(task, Fidelity.parse(fidelity), "valid", IMAGES, rows, {"source": "measured"}))
    return columns


ORDER = np.random.default_rng(3).permutation(CLASSES)
BROKEN, HALF = int(ORDER[7]), int(ORDER[450])
"""A class whose nst diverged, and one with none alone."""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    none, nst = measured_columns("cifar10", ORDER[:400], 60)
    nst.rows["correct"][nst.rows["cell"] == BROKEN] = DIVERGED
    half = make_rows([HALF], [777], [900], [1_000_000])
    none = Column("cifar10", none.fidelity, "valid", IMAGES, none.rows, none.provenance)
    extra = Column("cifar10", none.fidelity, "valid", IMAGES, half, none.provenance)
    folder = tmp_path_factory.mktemp("tables") / "kd_low_fidelity"
    columns = [none, extra, nst, *measured_columns("cifar100", ORDER[:150], 0)]
    write_table(folder, folder.name, columns, {})
    return folder


@pytest.fixture(scope="module")
def built(measured: Path) -> Table:
    return write_surrogate(measured, measured.parent / "kd_surrogate")


def column_of(table: Table, task: str, fidelity: str) -> Column:
    (column,) = [each for each in table.select(task, "valid") if str(each.fidelity) == fidelity]
    return column


def figures(table: Table, task: str, fidelity: str) -> dict:
    (found,) = [
        each
        for each in table.card["quality"]["tasks"]
        if (each["task"], each["fidelity"], each["given"]) == (task, fidelity, [])
    ]
    return found


def test_every_lacking_representative_has_one_entry_and_no_measured_class_any(built: Table):
    lacking = set(CLASSES.tolist()) - set(ORDER[:400].tolist())
    assert set(column_of(built, "cifar10", NST).rows["cell"].tolist()) == lacking
    assert set(column_of(built, "cifar10", NONE).rows["cell"].tolist()) == lacking - {HALF}
    for fidelity in (NONE, NST):
        assert column_of(built, "cifar100", fidelity).rows["cell"].tolist() == sorted(ORDER[150:].tolist())


def test_counts_are_whole_trainings_of_the_same_images(built: Table):
    for column in built.columns:
        assert column.images == IMAGES
        assert column.rows["correct"].max() <= IMAGES
        assert np.isfinite(column.accuracies()).all()
        assert set(column.rows["seed"].tolist()) == {777}


@pytest.mark.parametrize("fidelity", [NONE, NST])
def test_intervals_cover_what_they_say(built: Table, fidelity: str):
    for task, low in (("cifar10", 1e-4), ("cifar100", 1e-4)):
        found = figures(built, task, fidelity)
        least, most = stats.binom.interval(1 - 2 * low, found["trainings"], 0.9)
        assert least <= found["coverage"] * found["trainings"] <= most


@pytest.mark.parametrize(("task", "within"), [("cifar10", 0.06), ("cifar100", 0.1)])
@pytest.mark.parametrize(("place", "fidelity"), [(0, NONE), (1, NST)])
def test_draws_inform_as_much_as_trainings_would(
    built: Table, task: str, within: float, place: int, fidelity: str
):
    """Against what the law gives for the very classes that were not measured.

    The tau of 400 and of 150 measured classes has a standard error of 0.03 and 0.05 itself.
    """
    column = column_of(built, task, fidelity)
    cells = column.rows["cell"]
    truth = law(task, 1, 99)[cells, place, 0]
    expected = stats.kendalltau(truth, full(task)[cells]).statistic
    assert stats.kendalltau(column.accuracies(), full(task)[cells]).statistic == pytest.approx(
        expected, abs=within
    )
    assert column.accuracies().std() == pytest.approx(truth.std(), rel=2 * within)
    found = figures(built, task, fidelity)
    assert found["agrees"]
    # What would have been wrong: the prediction alone knows more of 200 epochs than a training.
    assert found["tau_with_full_predicted"] > found["tau_with_full_drawn"][0] + 0.05


def test_draws_of_two_curves_hang_together_as_trainings_do(built: Table):
    rows = [column_of(built, "cifar10", fidelity) for fidelity in (NONE, NST)]
    cells = rows[0].rows["cell"]
    second = np.isin(rows[1].rows["cell"], cells)
    truth = law("cifar10", 1, 99)[cells, :, 0]
    drawn = stats.kendalltau(rows[0].accuracies(), rows[1].accuracies()[second]).statistic
    assert drawn == pytest.approx(stats.kendalltau(*truth.T).statistic, abs=0.06)


def test_the_seed_noise_and_the_error_are_those_of_the_law(built: Table):
    found = figures(built, "cifar10", NONE)
    assert found["seed_noise"] == pytest.approx(NOISE, rel=0.3)  # 60 pairs: a deviation of 9 %
    assert np.hypot(NOISE, SHARED) * 0.95 < found["rmse"] < np.hypot(NOISE, SHARED) * 1.25
    assert figures(built, "cifar100", NONE)["seed_noise"] is None


def test_seconds_follow_the_operations(built: Table):
    for task in ("cifar10", "cifar100"):
        for place, fidelity in enumerate((NONE, NST)):
            rows = column_of(built, task, fidelity).rows
            fastest = seconds()[ORDER[: 400 if task == "cifar10" else 150]].min()
            expected = np.maximum(seconds()[rows["cell"]], fastest) * (1 + place)
            np.testing.assert_allclose(rows["microseconds"] / 1e6, expected, rtol=0.01)


def test_the_card_holds_figures_as_they_were_measured(built: Table):
    """They are rounded where they are printed, not where they are kept to be compared."""
    listed = built.card["quality"]["tasks"]
    for name in ("r2", "rmse", "coverage", "tau_of_prediction"):
        assert any(each[name] != round(each[name], 4) for each in listed), name
    assert any(error != round(error, 4) for error in built.card["quality"]["seconds"]["cifar10"].values())


def test_a_diverged_training_is_reported_and_not_fitted_to(built: Table):
    shares = built.card["quality"]["diverged"]["cifar10"]
    assert shares[NONE] == 0
    assert shares[NST] == pytest.approx(2 / 460)  # both seeds of the class
    assert figures(built, "cifar10", NST)["classes"] == 399


@pytest.mark.parametrize("reverse", [False, True])
def test_the_benchmark_prefers_measured_entries_and_labels_the_others(
    measured: Path, built: Table, reverse: bool
):
    opened = [Table.open(measured), built]
    bench = Benchmark(TASKS["cifar10"], opened[::-1] if reverse else opened)
    sources = {"measured": set(), "isomorphic": set(), "surrogate": set()}
    for index in range(SPACE_SIZE):
        sources[bench.draw(Cell.from_index(index), Fidelity.parse(NST), 0).source].add(index)
    known = set(ORDER[:400].tolist())
    assert sources["measured"] == known
    assert sources["isomorphic"] == {
        index
        for index in range(SPACE_SIZE)
        if index not in known and int(isomorphism_classes()[index]) in known
    }
    assert len(sources["surrogate"]) == SPACE_SIZE - len(sources["measured"] | sources["isomorphic"])
    assert bench.draw(Cell.from_index(HALF), Fidelity.parse(NONE), 0).valid_accuracy == 36.0


def test_a_task_without_measurements_has_no_draws(built: Table):
    assert {column.task for column in built.columns} == {"cifar10", "cifar100"}


def test_the_same_table_gives_the_same_bytes(tmp_path: Path):
    write_table(tmp_path / "small", "small", measured_columns("cifar10", ORDER[:60], 0)[:1], {})
    for folder in ("a", "b"):
        write_surrogate(tmp_path / "small", tmp_path / folder / "kd_surrogate")
    for name in ("entries.npy", "card.json"):
        first, second = ((tmp_path / folder / "kd_surrogate" / name).read_bytes() for folder in ("a", "b"))
        assert first == second


def test_a_second_recipe_on_fewer_classes_leaves_the_draws_of_the_first(tmp_path: Path):
    (first,) = measured_columns("cifar10", ORDER[:100], 0)[:1]
    (few,) = measured_columns("cifar10", ORDER[:60], 0)[:1]
    longer = Fidelity.parse(NONE.replace("none@1", "none@2")).curve
    second = Column("cifar10", longer, "valid", IMAGES, few.rows, few.provenance)
    made = []
    for name, columns in (("one", [first]), ("two", [first, second])):
        write_table(tmp_path / name, name, columns, {})
        made.append(write_surrogate(tmp_path / name, tmp_path / f"{name}-surrogate"))
    assert (column_of(made[0], "cifar10", NONE).rows == column_of(made[1], "cifar10", NONE).rows).all()
    assert len(column_of(made[1], "cifar10", str(longer)).rows) == len(CLASSES) - 60
    assert [each["classes"] for each in made[1].card["quality"]["tasks"]] == [100, 60]
    assert set(made[1].card["quality"]["seconds"]["cifar10"]) == {NONE, str(longer)}


def test_the_quality_is_written_into_a_page(built: Table, tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    write_into(page, built.card)
    text = page.read_text()
    assert text == f"before\n{MARKS[0]}\n{quality_markdown(built.card)}{MARKS[1]}\nafter\n"
    found = figures(built, "cifar10", NST)
    assert f"| cifar10 | `{NST}` | nothing | 399 | {found['r2']:.2f} |" in text
    page.write_text("no marks")
    with pytest.raises(DataError, match="no marks"):
        write_into(page, built.card)
    with pytest.raises(DataError, match="states no quality"):
        quality_markdown({})


def test_the_command_refuses_what_it_cannot_fit(tmp_path: Path):
    write_table(tmp_path / "few", "few", measured_columns("cifar10", ORDER[:49], 0), {})
    for folder, words in (("few", "50 classes"), ("nowhere", "no table at")):
        result = CliRunner().invoke(
            app, ["data", "surrogate", str(tmp_path / folder), "--into", str(tmp_path / "o")]
        )
        assert (result.exit_code, words in result.stderr) == (2, True), result.stderr
        assert not (tmp_path / "o").exists()
    different = measured_columns("cifar10", ORDER[:60], 0)[:1]
    more = Column(
        "cifar10", Fidelity.parse(NONE), "valid", 5000, make_rows([1], [2], [3], [4]), {"source": "measured"}
    )
    write_table(tmp_path / "images", "images", [*different, more], {})
    with pytest.raises(DataError, match="2500 and on 5000 images"):
        write_surrogate(tmp_path / "images", tmp_path / "o")
    assert "nasbench-kd data surrogate" in CliRunner().invoke(app, ["data", "surrogate", "--help"]).stdout


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path):
    write_table(tmp_path / "small", "small", measured_columns("cifar10", ORDER[:60], 0)[:1], {})
    code = (
        "import sys; sys.modules['sklearn'] = None; from nasbench_kd.cli import app; "
        f"app(['data', 'surrogate', {str(tmp_path / 'small')!r}, '--into', {str(tmp_path / 'o')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, "nasbench-kd[models]" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", [0, 0, 0, 0, 0, 0]),
        ("|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|nor_conv_1x1~2|", [1, 0, 0, 0, 1, 0]),
        ("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|avg_pool_3x3~0|none~1|none~2|", [0, 0, 0, 1, 0, 0]),
    ],
)
def test_live_edges_by_hand(cell: str, expected: list[int]):
    assert live_edges()[Cell.parse(cell).index].tolist() == [bool(value) for value in expected]


def test_the_shipped_surrogate_adds_to_the_measured_table_and_states_its_quality():
    if not (EMBEDDED_FOLDER / "kd_surrogate").is_dir():
        pytest.skip("no surrogate ships in this tree")
    shipped = {table.name: table for table in tables("embedded")}
    made, measured = shipped["kd_surrogate"], shipped["kd_low_fidelity"]
    assert made.card["source_sha256"]["kd_low_fidelity"] == measured.sha256
    classes = isomorphism_classes()
    known: dict[tuple[str, str], set[int]] = {}
    for column in measured.columns:
        known.setdefault((column.task, str(column.fidelity)), set()).update(
            classes[column.rows["cell"]].tolist()
        )
    for column in made.columns:
        assert column.provenance["source"] == "surrogate"
        assert not known.get((column.task, str(column.fidelity)), set()) & set(column.rows["cell"].tolist())
    assert all(0.8 < each["coverage"] <= 1 for each in made.card["quality"]["tasks"])
    assert quality_markdown(made.card) in (ROOT / "docs" / "surrogate.md").read_text()
