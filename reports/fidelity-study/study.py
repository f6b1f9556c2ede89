"""Measure candidate proxies on CIFAR-10; resumable, and any prefix of the plan is useful.

    python reports/fidelity-study/study.py --images FOLDER --database study.db [--hours H] [--workers N] [--again]

FOLDER holds images, split lists and `teachers/cifar10.npz` (docs/live.md); the plan is `plan.toml`. What
`trainings.csv` holds is not trained again, unless asked.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import pandas as pd

from nasbench_kd.live.fill import Phase, fill
from nasbench_kd.live.laboratory import Sources
from nasbench_kd.live.store import TrainingJob
from nasbench_kd.live.teacher import TeacherFile

FOLDER = Path(__file__).parent


def published() -> set[TrainingJob]:
    """The trainings of `trainings.csv`."""
    frame = pd.read_csv(FOLDER / "trainings.csv")
    return {
        TrainingJob("cifar10", curve, int(seed), int(cell))
        for curve, seed, cell in zip(frame.curve, frame.seed, frame.cell, strict=True)
    }


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--hours", type=float)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="train what trainings.csv holds as well")
    args = parser.parse_args()
    plan = tomllib.loads((FOLDER / "plan.toml").read_text())["phase"]
    phases = [Phase("cifar10", tuple(phase["curves"]), classes=phase["classes"]) for phase in plan]
    teachers = {"cifar10": TeacherFile(args.images / "teachers" / "cifar10.npz")}
    sources = Sources(args.images, args.images, teachers)
    skip = set() if args.again else published()
    fill(args.database, phases, sources, hours=args.hours, devices=["cpu"] * args.workers, skip=skip)


if __name__ == "__main__":
    main()
