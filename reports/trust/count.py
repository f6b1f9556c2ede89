"""Repeats the tests that kill, fill disks, mutate inputs and misbehave, counts what they did, and writes docs/trust.md.

    python reports/trust/count.py [--kills 61] [--inputs 6500]

Half an hour on two cores. Fails, and writes nothing, where one of the tests does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from nasbench_kd.files import write_between

ROOT = Path(__file__).parents[2]
MARKS = ("<!-- counted -->", "<!-- end of counted -->")
GROUPS = (
    ("tests/execution/test_kill.py",),
    ("tests/fuzz/test_strings.py", "tests/fuzz/test_pickles.py"),
    (
        "tests/fuzz/test_files.py",
        "tests/package/test_files.py",
        "tests/execution/test_store.py",
        "tests/tables/test_patch.py",
    ),
    (
        "tests/execution/test_isolation.py",
        "tests/execution/test_isolated.py",
        "tests/execution/test_study.py",
        "tests/simulation/test_border.py",
    ),
)
KINDS = {
    "kill of a suite": "kills of a suite or one of its processes, each followed by the same bytes in the end",
    "kill of a replacement": "kills while a folder or table is replaced, each leaving the old or the new one whole",
    "full disk": "full disks, each leaving what was there",
    "mutated input": "mutated texts, pickles and files, each read as what it says or refused with a typed error",
    "hostile optimizer": "runs of optimizers that misbehave, each ending for a recorded reason while its suite goes on",
    "cheat": "searches that try to get more than they pay for, each getting nothing",
}


def main() -> None:
    """Run the tests and write what they counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=61)
    parser.add_argument(
        "--inputs", type=int, default=6500, help="for each of the parsers that take text or pickles"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts"
        for number, group in enumerate(GROUPS):
            environment = {
                **os.environ,
                "NASBENCH_KD_COUNTS": str(counts),
                "NASBENCH_KD_KILLS": str(options.kills),
                "NASBENCH_KD_FUZZ": str(options.inputs if number == 1 else 300),
            }
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", *group]
            subprocess.run(command, cwd=ROOT, env=environment, check=True)
        found = Counter(counts.read_text().splitlines())
    lines = [f"- {found[kind]:,} {text}" for kind, text in KINDS.items()]
    write_between(ROOT / "docs" / "trust.md", MARKS, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
