"""The closed form of the table's clock: fitted to the table here, and the bills that papers' searches come to."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.spaces.nasbench201 import OPERATIONS, SPACE_SIZE, code_matrix
from nasbench_kd.spaces.training_seconds import (
    FORWARD,
    OPERATION,
    SKELETON,
    joint_seconds_per_image,
    mean_seconds_per_image,
    seconds_per_image,
)
from nasbench_kd.tasks.block_wise import DNA
from nasbench_kd.tasks.nasbench201 import TASKS, TEACHER_CODES

EPOCH = 25_000


def test_it_is_the_fit_to_the_table():
    seconds = nk.load("cifar10", data="embedded").evaluate_many(np.arange(SPACE_SIZE)).seconds / 200
    counts = np.stack([(code_matrix() == code).sum(1) for code in range(1, 5)], 1)
    design = np.column_stack([np.ones(SPACE_SIZE), counts])
    fitted = np.linalg.lstsq(design, seconds, rcond=None)[0]
    kept = [SKELETON, *(OPERATION[name] for name in OPERATIONS[1:])]
    np.testing.assert_allclose(kept, fitted, atol=0.02)
    predicted = EPOCH * np.array([seconds_per_image(codes) for codes in code_matrix().tolist()])
    assert 1 - ((seconds - predicted) ** 2).mean() / seconds.var() > 0.992
    assert EPOCH * mean_seconds_per_image() == pytest.approx(seconds.mean(), rel=0.005)


def test_the_bills_of_published_searches():
    cell, joint = EPOCH * mean_seconds_per_image(), EPOCH * joint_seconds_per_image()
    assert joint / cell == pytest.approx(3.44, abs=0.01)
    bills = {
        "RSPS": 250 * cell * (1 + FORWARD),
        "DARTS-V1": 50 * 2 * joint,
        "DARTS-V2": 50 * 5 * joint,
        "GDAS": 250 * 2 * cell,
        "SETN": 250 * (cell + joint),
        "iDARTS": 30 * 391 * 64 / EPOCH * 11 * joint,
        "RMI-NAS": 200 * 4800 / EPOCH * cell,
    }
    expected = [3047, 3146, 7864, 4570, 10_149, 10_400, 351]
    np.testing.assert_allclose(list(bills.values()), expected, rtol=2e-3)


def test_stages_cost_their_steps_and_the_teachers_pass():
    steps = 3000 * 64 * (3.55 + 6 * (1.73 + 2.28 + 0.83 - 0.19) / 5 / 5) / EPOCH
    teacher = 10_500 * (3.55 + 2 * 2.28 - 2 * 0.19) / EPOCH / 3
    assert TASKS["cifar10"].teacher.codes == TEACHER_CODES
    assert DNA.seconds(TEACHER_CODES) == pytest.approx(steps + teacher)
