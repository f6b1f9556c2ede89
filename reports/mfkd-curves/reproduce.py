"""Train cells of MF-KD's records by MF-KD's own low fidelity, epoch by epoch, and set the readings side by side.

    python reports/mfkd-curves/reproduce.py --images FOLDER --splits FOLDER --teacher FILE.npz \\
        --cells 37 48 32 --epochs 1 \\
        [--positions 1 2 4 7 8] [--weight 12.5] [--seed N] [--precision float32]

Each epoch is appended to `curves.csv` beside this file as it ends; a training that was stopped goes on from
its checkpoint in `--work`. The authors' readings are those of the embedded table `mf-kd-authors`. The training
accuracy is that of each batch before its step, averaged over the epoch, as the authors logged it: batch-norm's
running statistics do not enter it.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nasbench_kd.live.distillation.objective import WEIGHTS
from nasbench_kd.live.distillation.outputs import Outputs
from nasbench_kd.live.fill import keep_freed_memory
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.teacher import MFKD_POSITIONS, TeacherFile
from nasbench_kd.live.trainer import Training
from nasbench_kd.opening import load
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.fidelity import Fidelity

AUTHORS_SEED = 111
FIDELITY = Fidelity.parse("nst@12")
COLUMNS = [
    "cell",
    "positions",
    "weight",
    "seed",
    "precision",
    "epoch",
    "valid",
    "authors_valid",
    "train",
    "authors_train",
    "train_loss",
    "authors_train_loss",
    "seconds",
]
RESULTS = Path(__file__).parent / "curves.csv"


def compare_positions(training: Training, positions: Sequence[int]) -> None:
    """Let the loss see the maps at these positions of the 17 after the stem."""
    bench = training.workbench

    def kept(outputs: Outputs) -> Outputs:
        return outputs._replace(maps=[outputs.maps[1 + position] for position in positions])

    def teach(_names: tuple[str, ...], _rows: Tensor, images: Tensor, _student: Outputs) -> Outputs:
        assert bench.teacher is not None
        return kept(bench.teacher(images))

    bench.teach = teach  # type: ignore[method-assign]
    bench.match = lambda student, _: kept(student)  # type: ignore[method-assign]


def authors(cell: int, epoch: int) -> tuple[float, float, float]:
    """The authors' validation accuracy, training accuracy and loss of a cell after an epoch."""
    bench, fidelity = load("cifar100", data="embedded"), FIDELITY.at_epoch(epoch)
    signals = ("valid_accuracy", "train_accuracy", "train_loss")
    return tuple(bench.evaluate(Cell.from_index(cell), fidelity, signal).value for signal in signals)  # type: ignore[return-value]


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("images", "splits", "teacher"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("checkpoints"))
    parser.add_argument("--cells", type=int, nargs="+", required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--positions", type=int, nargs="+", default=MFKD_POSITIONS, help="maps, 0 to 16")
    parser.add_argument("--weight", type=float, default=WEIGHTS["nst"], help="of the nst term")
    parser.add_argument("--seed", type=int, default=AUTHORS_SEED)
    parser.add_argument("--precision", choices=["bfloat16", "float32"], default="bfloat16")
    args = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    args.work.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    WEIGHTS["nst"] = args.weight
    positions = "-".join(map(str, args.positions))
    dtype = getattr(torch, args.precision)
    teachers = {"cifar100": TeacherFile(args.teacher)}
    for cell in args.cells:
        laboratory = Laboratory(Sources(args.images, args.splits, teachers), device=device, dtype=dtype)
        bench = laboratory.workbench("cifar100", FIDELITY)
        training = Training(bench, Cell.from_index(cell), FIDELITY, args.seed)
        compare_positions(training, args.positions)
        checkpoint = args.work / f"{cell}-{positions}-{args.weight}-{args.seed}-{args.precision}.pt"
        if checkpoint.exists():
            training.restore(torch.load(checkpoint, weights_only=True))
        while training.curve.epochs < args.epochs:
            training.run_epoch()
            torch.save(training.state(), checkpoint)
            epoch = training.curve.epochs
            valid, train, loss = authors(cell, epoch)
            row = [
                cell,
                positions,
                args.weight,
                args.seed,
                args.precision,
                epoch,
                100 * training.curve.valid_correct[-1] / len(training.workbench.valid),
                valid,
                100 * training.curve.readings["train_accuracy"][-1] / len(training.workbench.train),
                train,
                training.curve.train_loss[-1],
                loss,
                training.curve.train_seconds[-1],
            ]
            fresh = not RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                if fresh:
                    writer.writerow(COLUMNS)
                writer.writerow(row)


if __name__ == "__main__":
    main()
