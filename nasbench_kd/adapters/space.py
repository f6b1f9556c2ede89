"""The search space in the forms that other packages read: a JSON Schema, and a space of ConfigSpace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasbench_kd.adapters.export import PARAMETERS
from nasbench_kd.errors import MissingDependencyError
from nasbench_kd.spaces.nasbench201 import OPERATIONS

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

_NAME = "nas-bench-201"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of an architecture: an object that names the operation of each of the six edges.

    `nasbench_kd.adapters.export.cell_of` turns such an object into its cell.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": _NAME,
        "description": "A cell: one operation on each edge, named by the nodes that the edge joins.",
        "type": "object",
        "properties": {name: {"enum": list(OPERATIONS)} for name in PARAMETERS},
        "required": list(PARAMETERS),
        "additionalProperties": False,
    }


def config_space(seed: int | None = None) -> ConfigurationSpace:
    """The space for ConfigSpace: six categorical hyperparameters; `seed` is that of its own sampling.

    `nasbench_kd.adapters.export.cell_of(dict(configuration))` is the cell. Raises `MissingDependencyError`
    where ConfigSpace is not installed.
    """
    try:
        from ConfigSpace import Categorical, ConfigurationSpace  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise MissingDependencyError(
            "the export needs ConfigSpace, which is not installed: pip install ConfigSpace"
        ) from error
    space = ConfigurationSpace(name=_NAME, seed=seed)
    space.add(*(Categorical(name, list(OPERATIONS)) for name in PARAMETERS))
    return space
