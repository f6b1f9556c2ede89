"""Commands that add tables: download public sources, import files, merge patches, fit the surrogate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasbench_kd.cli.output import say

if TYPE_CHECKING:
    from nasbench_kd.sources.origin import PublicSource, RemoteFile


def pull(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="Names of sources; where none is named, all but mf-kd."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Install again what is installed.")] = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            envvar="NASBENCH_KD_MIRROR",
            help="Address or folder to take files from, laid out as OWNER/REPOSITORY/COMMIT/PATH.",
            show_default="the public address",
        ),
    ] = None,
    list_sources: Annotated[bool, typer.Option("--list", help="List the sources and stop.")] = False,
) -> None:
    """Download public results and install them as tables.

    Each file is pinned by commit and checksum. mf-kd, the full dumps of the MF-KD authors, whose inner
    structure is not documented, is pulled only by its name. A download that breaks off is tried again and resumed;
    a source is installed whole or not at all.

    Examples:

    ```
    nasbench-kd data pull --list
    nasbench-kd data pull
    nasbench-kd data pull nats-bench-test nb201-12-epochs
    ```
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from nasbench_kd.cli.output import print_table, say
    from nasbench_kd.sources.public import BY_HAND, SOURCES
    from nasbench_kd.sources.pull import default_names, is_installed
    from nasbench_kd.sources.pull import pull as install
    from nasbench_kd.tables.catalog import user_folder

    if list_sources:
        print_table(
            ["source", "holds", "MB#", "licence"],
            [(each.name, each.title, _megabytes(each), each.licence) for each in SOURCES.values()],
        )
        for name, obtain in BY_HAND.items():
            say(f"{name} cannot be pulled: {obtain}.")
        return
    names, tasks = sources or default_names(), {}
    before = {name for name in names if not force and name in SOURCES and is_installed(name, user_folder())}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def show(file: RemoteFile, have: int) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(Path(file.path).name, total=file.size)
            bar.update(tasks[file], completed=have)

        installed = install(names, base=mirror, force=force, progress=show)
    for name, folder in installed.items():
        say(f"{name}: {'is installed' if name in before else 'installed'} in {folder}")


def _megabytes(source: PublicSource) -> str:
    """The size of a source's files, where it is known."""
    sizes = [file.size for file in source.files]
    return "unknown" if None in sizes else f"{sum(size or 0 for size in sizes) / 1e6:.1f}"


def import_data(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="NAS-Bench-201 .pth, NATS-Bench folder or .pickle.pbz2 (both spaces), NASLib pickle, Syne Tune "
            "blackbox folder, or few-shot-NAS's one-shot-supernet or few-shot-supernet.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="Name of the table.", show_default="made from the file's name")
    ] = None,
    curves: Annotated[
        bool, typer.Option("--curves/--no-curves", help="Keep every epoch, or the last of each schedule.")
    ] = True,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the table of that name.")] = False,
) -> None:
    """Convert a file of NAS-Bench-201's or NATS-Bench's results to an installed table.

    Takes validation accuracy for each seed at every epoch that has it, and test accuracy after the
    last epoch. What mixes validation and test images is left out. Nothing of a pickle is run. A name that a table
    has is refused without --replace, and one of anything else (images, downloads, a fill's database) always.

    Examples:

    ```
    nasbench-kd data import NAS-Bench-201-v1_1-096897.pth
    nasbench-kd data import NATS-tss-v1_0-3ffb9-simple --no-curves
    nasbench-kd data import NATS-sss-v1_0-50262-simple
    nasbench-kd data import few-shot-supernet
    ```
    """
    from rich.console import Console

    from nasbench_kd.sources.importer import import_file, name_for, plan_import, what_has

    say(plan_import(file).memory, err=True)
    if replace and (taken := what_has(name or name_for(file))):
        say(f"{taken}: it is replaced", err=True)
    with Console(stderr=True).status("reading") as line:

        def show(seen: int, cell: int) -> None:
            line.update(f"reading: {seen:,} trainings, now of cell {cell}")

        table = import_file(file, name=name, curves=curves, replace=replace, progress=show)
    entries = sum(len(column.rows) for column in table.columns)
    say(f"{table.name}: {entries:,} entries in {len(table.columns)} columns, sha256 {table.sha256}")
    for note in table.card["notes"]:
        say(f"  {note}")


def merge(
    patches: Annotated[list[Path], typer.Argument(metavar="PATCH...", help="Patch files, reviewed.")],
    into: Annotated[
        Path | None, typer.Option(help="Folder of the table.", show_default="measured in the user folder")
    ] = None,
) -> None:
    """Merge patches of measured entries into a table, so that searches find them.

    Entries keep the provenance of their patch. One that contradicts the table stops the whole merge.

    Example:

    ```
    nasbench-kd data merge patch.json
    ```
    """
    from nasbench_kd.tables.catalog import user_folder
    from nasbench_kd.tables.patch import merge as merge_patches

    folder = into or user_folder() / "measured"
    table, added = merge_patches(patches, folder)
    total = sum(len(column.rows) for column in table.columns)
    say(f"{added} new entries merged into {folder}, which has {total}")


def surrogate(
    measured: Annotated[
        Path, typer.Argument(metavar="MEASURED", help="Folder of a table made by `nasbench-kd data merge`.")
    ],
    into: Annotated[
        Path | None,
        typer.Option(help="Folder of the new table.", show_default="kd_surrogate in the user folder"),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="Also write the quality between the marks of this Markdown page.", show_default="none"
        ),
    ] = None,
) -> None:
    """Fill what a measured low-fidelity table lacks with draws of a fitted surrogate.

    Every answer from the new table is labelled `surrogate`; measured entries are used before it. The
    quality by cross-validation over classes is printed as Markdown and kept in the table's card. Takes
    one to three minutes of processor time for each recipe, and at least 50 classes of a task that were
    measured at all curves of a recipe (curves that differ in their distillation alone).

    Examples:

    ```
    nasbench-kd data surrogate ~/.local/share/nasbench-kd/measured
    nasbench-kd data surrogate measured --into kd_surrogate --page docs/surrogate.md
    ```
    """
    from nasbench_kd.cli.output import needs_extra
    from nasbench_kd.surrogate.page import quality_markdown, write_into
    from nasbench_kd.tables.catalog import user_folder

    with needs_extra("models", "surrogates"):
        from nasbench_kd.surrogate.build import write_surrogate

        folder = into or user_folder() / "kd_surrogate"
        table = write_surrogate(measured, folder, lambda step: say(step, err=True))
    say(quality_markdown(table.card), nl=False)
    if page is not None:
        write_into(page, table.card)
    entries = sum(len(column.rows) for column in table.columns)
    say(f"{entries:,} entries in {len(table.columns)} columns written to {folder}", err=True)
