"""Every run has its own draw of the surrogate's entries, from the predictions and residuals that ship."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import DataError
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.table import Table

PROXY = nk.Fidelity.parse("nst@4 images=5000 batch=32 size=16 cells=1")
FOLDER = EMBEDDED_FOLDER / "kd_surrogate"


@pytest.fixture(scope="module")
def bench():
    return nk.load("cifar100", data="embedded")


@pytest.fixture(scope="module")
def drawn(bench):
    """Cells of 150 classes that the surrogate answers for."""
    (column,) = (
        each for each in Table.open(FOLDER).columns if (each.task, each.fidelity) == ("cifar100", PROXY)
    )
    return [nk.Cell.from_index(int(cell)) for cell in column.rows["cell"][::40][:150]]


def test_draws_are_a_prediction_and_a_residual_of_a_training_alike(bench, drawn):
    """In plain float64 from the file itself."""
    with np.load(FOLDER / "draws.npz") as stored:
        (group,) = (
            number
            for number in range(int(stored["groups"]))
            if str(stored[f"{number}_task"]) == "cifar100"
            and str(PROXY) in stored[f"{number}_fidelities"].tolist()
        )
        part = {name: stored[f"{group}_{name}"] for name in ("classes", "prediction", "residuals", "peers")}
        place = stored[f"{group}_fidelities"].tolist().index(str(PROXY))
    for cell in drawn[:20]:
        for run in (0, 1, 7**20):
            digest = hashlib.blake2b(f"cifar100 {cell.index} {run}".encode(), digest_size=8).digest()
            row = int(np.flatnonzero(part["classes"] == cell.index)[0])
            peer = part["peers"][row, int.from_bytes(digest, "little") % part["peers"].shape[1]]
            accuracy = part["prediction"][row, place] + part["residuals"][peer, place]
            expected = np.rint(np.clip(accuracy, 0, 100) * 25) / 25
            found = bench.draw(cell, PROXY, run)
            assert (found.source, found.seed) == ("surrogate", 777)
            assert found.value == pytest.approx(expected, abs=1e-9)


def test_the_entries_of_the_table_are_the_first_draw(bench, drawn):
    for cell in drawn:
        assert bench.draw(cell, PROXY, 0) == bench.evaluate(cell, PROXY)


def test_runs_do_not_share_a_draw_and_their_epochs_do(bench, drawn):
    early = PROXY.at_epoch(3)
    values = np.array(
        [
            [[bench.draw(cell, each, run).value for cell in drawn] for run in range(1, 9)]
            for each in (early, PROXY)
        ]
    )
    spread = values[1].std(axis=0, ddof=1).mean()
    assert spread > 1
    luck = values - values.mean(axis=1, keepdims=True)
    assert np.corrcoef(luck[0].ravel(), luck[1].ravel())[0, 1] > 0.3  # one training, read twice
    runs = np.corrcoef(luck[1])
    assert abs(runs[np.triu_indices(8, 1)].mean() + 1 / 7) < 0.1  # as of independent draws about their mean


def test_measured_entries_and_the_same_run_stay_as_they_are(bench):
    measured = next(
        cell
        for cell in map(nk.Cell.from_index, range(15_625))
        if bench.evaluate(cell, PROXY).source == "measured"
    )
    assert len({bench.draw(measured, PROXY, run).value for run in range(20)}) == 1


def test_a_search_is_told_its_own_draw_and_its_twins_share_it(bench, drawn):
    class Asks(nk.Optimizer):
        def ask(self):
            return nk.Query(drawn[0], PROXY)

        def tell(self, query, evaluation):
            pass

    values = {}
    for seed in range(6):
        run = nk.search(Asks, task=bench, budget="2 evaluations", seed=seed)
        values[seed] = run.steps[-1].value
        assert values[seed] == bench.draw(drawn[0], PROXY, seed).value
    assert len(set(values.values())) > 2


def test_damaged_draws_are_refused_when_they_are_asked_for(tmp_path, drawn):
    shutil.copytree(FOLDER, tmp_path / "t")
    path = tmp_path / "t" / "draws.npz"
    path.write_bytes(path.read_bytes()[:-1])
    table = Table.open(tmp_path / "t")
    with pytest.raises(DataError, match="does not match the checksum"):
        table.draws.accuracy("cifar100", str(PROXY), drawn[0].index, 1)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        Table.open(tmp_path / "t").draws.accuracy("cifar100", str(PROXY), drawn[0].index, 1)
    card = json.loads((tmp_path / "t" / "card.json").read_text())
    card["draws_sha256"] = "0" * 64
    (tmp_path / "t" / "card.json").write_text(json.dumps(card))
    with pytest.raises(DataError, match="checksum in the card"):
        Table.open(tmp_path / "t")
