"""Measure what a stored run costs the one process that stores, exports, replays and reports.

`python reports/scale/rates.py` takes the published runs of `standard`, whose every step is stored, and writes
`rates.json` beside this file: processor seconds of this process (so that what else the machine does counts little)
and bytes, each for one run.
"""

from __future__ import annotations

import json
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nasbench_kd.execution.runs import RunsFile, decode, write_runs
from nasbench_kd.execution.store import FinishedRun, Key, RunStore
from nasbench_kd.execution.verify import RunsToVerify
from nasbench_kd.report.write import write_report

HERE = Path(__file__).parent
RUNS = HERE.parent / "standard" / "runs.parquet"


def measure(folder: Path) -> dict[str, float]:
    """Seconds and bytes of one run, by name; `folder` is empty and is written to."""
    file = RunsFile(RUNS)
    rows = [row for batch in file.table().to_batches() for row in _rows(batch)]
    count, found = len(rows), {"runs": float(len(rows))}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.process_time()
        yield
        found[f"{name}_seconds"] = (time.process_time() - began) / count

    with RunStore(folder) as store:
        with timed("store"):
            for row in rows:
                store.add(row)
        with timed("export"):
            write_runs(folder / "runs.parquet", (decode(row.payload) for row in store.rows()), file.metadata)
    found["store_bytes"] = sum(path.stat().st_size for path in folder.glob("store.sqlite*")) / count
    found["export_bytes"] = (folder / "runs.parquet").stat().st_size / count
    found["packed_bytes"] = RUNS.stat().st_size / count
    with timed("verify"):
        assert not any(RunsToVerify(folder).verify())
    with timed("report"):
        write_report(folder)
    return found


def _rows(batch) -> Iterator[FinishedRun]:  # type: ignore[no-untyped-def]  # of pyarrow, which has no types
    for place in range(batch.num_rows):
        row = batch.slice(place, 1)
        key = Key(*(row[name][0].as_py() for name in ("optimizer", "task", "repetition")))
        payload = zlib.compress(row.serialize(), level=1)
        yield FinishedRun(key, "0" * 64, False, 0.0, payload)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        rates = measure(Path(temporary))
    (HERE / "rates.json").write_text(json.dumps(rates, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(rates, indent=2))
