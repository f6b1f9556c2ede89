"""Train cells of MF-KD's logs by MF-KD's own low fidelity, epoch by epoch, and set the accuracies side by side.

    python reports/mfkd-curves/reproduce.py --images FOLDER --splits FOLDER --teacher FILE.npz \\
        --logs mfkd_nst_cifar100.csv --cells 37 48 32 --epochs 1

Each epoch is appended to `curves.csv` beside this file as it ends; a training that was stopped goes on from
its checkpoint in `--work`.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch

from nasbench_kd.live.fill import keep_freed_memory
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.store import Job
from nasbench_kd.live.teacher import TeacherFile

AUTHORS_SEED = 111
COLUMNS = ["cell", "epoch", "ours", "authors", "train_loss", "train_seconds"]
RESULTS = Path(__file__).parent / "curves.csv"


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("images", "splits", "teacher", "logs"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("checkpoints"))
    parser.add_argument("--cells", type=int, nargs="+", required=True)
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    keep_freed_memory()
    args.work.mkdir(parents=True, exist_ok=True)
    with args.logs.open() as file:
        logs = {int(row["index"]): row for row in csv.DictReader(file)}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    teachers = {"cifar100": TeacherFile(args.teacher)}
    laboratory = Laboratory(Sources(args.images, args.splits, teachers), device=device)
    for cell in args.cells:
        training = laboratory.training(Job("cifar100", "nst@12", AUTHORS_SEED, cell))
        checkpoint = args.work / f"{cell}.pt"
        if checkpoint.exists():
            training.restore(torch.load(checkpoint, weights_only=True))
        while len(training.curve.valid_correct) < args.epochs:
            training.run_epoch()
            torch.save(training.state(), checkpoint)
            epoch = len(training.curve.valid_correct)
            row = [
                cell,
                epoch,
                round(100 * training.curve.valid_correct[-1] / len(training.workbench.valid), 2),
                logs[cell][f"valid_acc_ep{epoch}"],
                round(training.curve.train_loss[-1], 4),
                round(training.curve.train_seconds[-1], 1),
            ]
            fresh = not RESULTS.exists()
            with RESULTS.open("a", newline="") as file:
                writer = csv.writer(file)
                if fresh:
                    writer.writerow(COLUMNS)
                writer.writerow(row)


if __name__ == "__main__":
    main()
