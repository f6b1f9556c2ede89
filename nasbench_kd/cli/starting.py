"""The command that starts a method of one's own: optimizer, test and suite, ready to run."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from nasbench_kd.cli.output import say
from nasbench_kd.errors import ArgumentError

_OPTIMIZER = Template('''"""$name: say here what the method does."""

import nasbench_kd as nk


class $kind(nk.Optimizer):
    """Mutates the best architecture so far, and starts from random ones.

    Args:
        start: random architectures before the first mutation.
    """

    paper = "yours"

    def __init__(self, start: int = 5) -> None:
        self.start = start

    def setup(self, view, rng):
        """Begin a run: what is learned lives here, since an instance may search again."""
        super().setup(view, rng)
        self.asked = 0

    def ask(self):
        """Return the next query; another fidelity is asked for as nk.Query(cell, "none@12")."""
        self.asked += 1
        if self.asked <= self.start or self.incumbent is None:
            return nk.Query(self.random_cell())
        return nk.Query(self.incumbent.cell.mutate(self.rng))

    def tell(self, query, evaluation):
        """Learn the outcome: the best full training is the answer."""
        self.keep_best(query, evaluation)
''')
_TEST = Template('''"""The conformance kit: determinism, the ask/tell protocol, failures, workers, small budgets."""

from nasbench_kd.testing.contract import OptimizerContract
from $module import $kind


class Test$kind(OptimizerContract):
    make = $kind
    fidelities = ()  # all that it may ask for below the target of a task, such as ("none@12", "nst@4/12")
''')
_SUITE = Template("""# $name beside two published methods: `nasbench-kd run $module.toml`
name = "$module"
tasks = ["cifar10", "cifar100", "imagenet16-120"]
budgets = ["10 gpu-hours", "50 gpu-hours"]
seeds = 20
paired_seeds = true

[[optimizers]]
name = "$name"
optimizer = "$module:$kind"
arguments = { start = 5 }

[[optimizers]]
optimizer = "random"

[[optimizers]]
optimizer = "regularized-evolution"
""")


def new_optimizer(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the method: letters, digits, - and _.")
    ],
    folder: Annotated[Path, typer.Option(help="Folder of the three files.", show_default="here")] = Path("."),
) -> None:
    """Start a method of your own: an optimizer, its test and a suite that compares it.

    Writes NAME.py, test_NAME.py and NAME.toml, and nothing where one of them exists.

    Example, and see docs/tutorial.md:

    ```
    nasbench-kd new-optimizer mine
    nasbench-kd run mine.toml
    ```
    """
    from nasbench_kd.files import write_text

    module = name.replace("-", "_").lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", module) or keyword.iskeyword(module):
        raise ArgumentError(
            f"{name!r} is no name for a method: expected letters, digits, - and _, such as my-method"
        )
    words = {"name": name, "module": module, "kind": "".join(part.capitalize() for part in module.split("_"))}
    files = {
        folder / f"{module}.py": _OPTIMIZER,
        folder / f"test_{module}.py": _TEST,
        folder / f"{module}.toml": _SUITE,
    }
    for path in files:
        if path.exists():
            raise ArgumentError(f"{path} exists: give the method another name, or --folder another folder")
    _check_free(module)
    for path, template in files.items():
        write_text(path, template.substitute(words))
    test, suite = folder / f"test_{module}.py", folder / f"{module}.toml"
    say(f"Written: {', '.join(map(str, files))}")
    say(f"\nNext:\n  pytest {test}\n  nasbench-kd run {suite}")


def _check_free(module: str) -> None:
    """Raise `ArgumentError` on names under which another module, or a suite that ships, would be found."""
    from nasbench_kd.execution.suite import shipped_suites

    if module in shipped_suites():
        raise ArgumentError(f"{module} is the name of a suite that ships: give the method another name")
    if module in sys.stdlib_module_names or find_spec(module) is not None:
        raise ArgumentError(
            f"there is a module {module!r} already, which would be imported in its place: give the method another name"
        )
