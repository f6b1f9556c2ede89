"""Measure candidate proxies on CIFAR-10; resumable, and any prefix of the plan is useful.

    python reports/fidelity-study/study.py --images FOLDER --database study.db [--hours H] [--workers N]

FOLDER holds images, split lists and `teachers/cifar10.npz` (docs/live.md); the plan is `plan.toml`.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

from nasbench_kd.live.fill import Phase, fill
from nasbench_kd.live.laboratory import Sources
from nasbench_kd.live.teacher import TeacherFile


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--hours", type=float)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    plan = tomllib.loads((Path(__file__).parent / "plan.toml").read_text())["phase"]
    phases = [Phase("cifar10", tuple(phase["curves"]), classes=phase["classes"]) for phase in plan]
    teachers = {"cifar10": TeacherFile(args.images / "teachers" / "cifar10.npz")}
    sources = Sources(args.images, args.images, teachers)
    fill(args.database, phases, sources, hours=args.hours, devices=["cpu"] * args.workers)


if __name__ == "__main__":
    main()
