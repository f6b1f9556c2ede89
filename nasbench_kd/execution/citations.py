"""What to cite for a suite: the benchmark, the tables that answer, and the methods that it runs, as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.metadata import version
from typing import NamedTuple

from nasbench_kd.execution.suite import import_name
from nasbench_kd.simulation.registry import registered
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tasks.registry import SHIPPED, find_task

_FILE = "references.bib"
_ENTRY = re.compile(r"^@\w+\{([^,\s]+),.*?^\}$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"^\s*(doi|eprint) = \{(.*?)\}", re.MULTILINE)
_KEYWORDS = re.compile(r"^\s*keywords = \{(.*)\},?\n", re.MULTILINE)
_BENCHMARK = """@misc{{nasbenchkd,
  title = {{{{nasbench-kd}}: a benchmark for distillation-aware, multi-fidelity neural architecture search}},
  author = {{{{The nasbench-kd authors}}}},
  note = {{Version {version}}}
}}"""


class Citations(NamedTuple):
    """BibTeX entries by key, and the methods that no file of references names."""

    entries: Mapping[str, str]
    unknown: tuple[str, ...]


def citations(
    optimizers: Iterable[str] | None = None, data: Data = "embedded", tasks: Iterable[str] = ()
) -> Citations:
    """The works behind the tables and some optimizers as suites name them, or all that are registered.

    Tasks with tables of their own add those: all that ship where neither optimizers nor tasks are named.

    A method's works stand in the file `references.bib` of its top package, as entries whose `keywords` name its
    class. Raises `DataError` where a table is damaged.
    """
    names = registered() if optimizers is None else optimizers
    own = [find_task(name) for name in (tasks or (SHIPPED if optimizers is None else ()))]
    found = {"nasbenchkd": _BENCHMARK.format(version=version("nasbench-kd"))}
    found |= _chosen("nasbench_kd", [table.name for table in tables(data, *own)])
    unknown = []
    for name in names:
        package, _, kind = import_name(name).partition(":")
        works = _chosen(package.partition(".")[0], [kind])
        if not works:
            unknown.append(name)
        found |= works
    return Citations(found, tuple(dict.fromkeys(unknown)))


def works_of_table(name: str) -> list[str]:
    """The works that a table rests on, each as its key with DOI or arXiv number: `key (doi:...)`."""
    found = []
    for key, entry in _chosen("nasbench_kd", [name]).items():
        place = _PLACE.search(entry)
        kind = {"eprint": "arXiv", "doi": "doi"}[place[1]] if place else ""
        found.append(f"{key} ({kind}:{place[2]})" if place else key)
    return found


def _chosen(package: str, wanted: Iterable[str]) -> dict[str, str]:
    """Entries of a package's references whose keywords name one of those wanted, without the keywords."""
    try:
        text = resources.files(package).joinpath(_FILE).read_text(encoding="utf-8")
    except (ModuleNotFoundError, FileNotFoundError, NotADirectoryError, TypeError):
        return {}
    names = {*wanted, "*"}
    return {
        entry[1]: _without_last_comma(_KEYWORDS.sub("", entry[0]))
        for entry in _ENTRY.finditer(text)
        if (said := _KEYWORDS.search(entry[0])) and names & set(re.split(r",\s*", said[1]))
    }


def _without_last_comma(entry: str) -> str:
    return re.sub(r",\n\}$", "\n}", entry)
