"""Repeats the tests that kill, fill disks, mutate inputs and misbehave, counts what they did, and writes docs/trust.md.

    python reports/trust/count.py FOLDER [--kills 61] [--inputs 11000] [--groups kills hostile ...]

Half an hour of computing. What each group of tests did stays in FOLDER, where a group that is done is not repeated; the
page is written when all of them are. Fails where one of the tests does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from nasbench_kd.files import write_between

ROOT = Path(__file__).parents[2]
MARKS = ("<!-- counted -->", "<!-- end of counted -->")
GROUPS = {
    "kills": ("tests/execution/test_kill.py",),
    "texts": ("tests/fuzz/test_strings.py", "tests/fuzz/test_pickles.py"),
    "files": ("tests/fuzz/test_files.py",),
    "disks": ("tests/package/test_files.py", "tests/execution/test_store.py", "tests/tables/test_patch.py"),
    "hostile": (
        "tests/execution/test_isolation.py",
        "tests/execution/test_isolated.py",
        "tests/execution/test_study.py",
        "tests/simulation/test_border.py",
    ),
}
FILES_SHARE = 4
"""Files take longer than texts and pickles, and get so many times fewer inputs."""
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
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=61)
    parser.add_argument("--inputs", type=int, default=11000, help="for each reader of texts and pickles")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    done = {name: options.folder / name for name in GROUPS}
    for name in options.groups:
        if not done[name].exists():
            count(name, done[name], options.kills, options.inputs)
    if lacking := [name for name, path in done.items() if not path.exists()]:
        print(f"not counted yet: {', '.join(lacking)}")
        return
    found = Counter(line for path in done.values() for line in path.read_text().splitlines())
    lines = [f"- {found[kind]:,} {text}" for kind, text in KINDS.items()]
    write_between(ROOT / "docs" / "trust.md", MARKS, "\n".join(lines) + "\n")


def count(name: str, path: Path, kills: int, inputs: int) -> None:
    """Run one group of tests and leave what it counted at a path."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "NASBENCH_KD_COUNTS": str(unfinished.absolute()),
        "NASBENCH_KD_KILLS": str(kills),
        "NASBENCH_KD_FUZZ": str(inputs // FILES_SHARE if name == "files" else inputs),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", *GROUPS[name]]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    unfinished.rename(path)


if __name__ == "__main__":
    main()
