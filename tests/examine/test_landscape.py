"""The landscape against known figures, and the documentation against the landscape."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from nasbench_kd.examine.landscape import draw_landscape, survey, to_markdown

DOCUMENT = Path(__file__).parents[2] / "docs" / "data.md"


@pytest.fixture(scope="module")
def landscape(pulled):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASBENCH_KD_DATA", str(pulled))
        return survey()


def test_noise_ceiling_is_the_known_one(landscape):
    seeds = [each for each in landscape.correlations if each.kind == "seeds"]
    assert [round(each.everywhere.estimate, 2) for each in seeds] == [0.91, 0.89, 0.91]
    assert [round(each.top.estimate, 2) for each in seeds] == [0.58, 0.30, 0.38]


def test_quantiles_of_test_accuracy_are_the_known_ones(landscape):
    known = {
        "cifar10": (87.06, 90.75, 92.93, 93.77),
        "cifar100": (61.41, 65.29, 69.48, 71.13),
        "imagenet16-120": (33.59, 36.39, 42.91, 45.39),
    }
    for task, expected in known.items():
        values = landscape.accuracies[task, "test"]
        found = (values.mean(), *np.quantile(values, (0.5, 0.9, 0.99)))
        np.testing.assert_allclose(found, expected, atol=0.006)


def test_documentation_prints_the_tables_of_the_command(landscape):
    assert to_markdown(landscape) in DOCUMENT.read_text()


def test_without_installed_data_there_is_a_landscape_too(tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    landscape = survey()
    assert {each.kind for each in landscape.correlations} == {"data sets", "fidelities", "seeds", "splits"}
    assert [split for _, split in landscape.accuracies] == ["valid"] * 3 + ["test"] * 3


def test_figures_are_drawn(landscape, tmp_path):
    pytest.importorskip("seaborn", reason="needs the extra report")
    paths = draw_landscape(landscape, tmp_path)
    assert [path.name for path in paths] == ["accuracies.png", "correlations.png"]
    for path in paths:
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert path.with_suffix(".svg").is_file()


def test_a_fidelity_that_half_of_the_cells_have_is_told_with_their_number(monkeypatch, tmp_path):
    """Kendall's tau of the accuracy alone with the distilled one, as computed from the source's files by other code."""
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    found = survey(task="autoformer-flowers")
    taus = {each.first: each.everywhere.estimate for each in found.correlations if each.kind == "fidelities"}
    alone = "none@300 batch=128 (100 of 200 cells)"
    assert {name: round(tau, 2) for name, tau in taus.items()} == {
        f"autoformer-cifar100 {alone}": -0.27,
        f"autoformer-flowers {alone}": 0.28,
        f"autoformer-chaoyang {alone}": -0.08,
    }
    pytest.importorskip("seaborn", reason="needs the extra report")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of labels that leave no room for the axes
        draw_landscape(found, tmp_path)
