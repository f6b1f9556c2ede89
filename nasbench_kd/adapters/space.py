"""A search space in the forms that other packages read: a JSON Schema, and a space of ConfigSpace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasbench_kd.errors import ArgumentError, MissingDependencyError
from nasbench_kd.spaces.space import SearchSpace

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace


def json_schema(space: SearchSpace) -> dict[str, Any]:
    """JSON Schema (2020-12) of an architecture: an object that names the choice at each coordinate.

    Where not every combination is there, those that are are listed. `nasbench_kd.adapters.export.cell_of` turns such
    an object into its architecture.
    """
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": space.name,
        "description": "An architecture: one choice at each coordinate of the search space.",
        "type": "object",
        "properties": {
            name: {"enum": list(choices)}
            for name, choices in zip(space.coordinates, space.choices, strict=True)
        },
        "required": list(space.coordinates),
        "additionalProperties": False,
    }
    if not space.grid:
        schema["enum"] = [dict(zip(space.coordinates, each.choices, strict=True)) for each in space]
    return schema


def config_space(space: SearchSpace, seed: int | None = None) -> ConfigurationSpace:
    """The space for ConfigSpace: a categorical hyperparameter for each coordinate; `seed` is that of its sampling.

    `nasbench_kd.adapters.export.cell_of(space, dict(configuration))` is the architecture. Raises `ArgumentError` where
    not every combination is there, and `MissingDependencyError` where ConfigSpace is not installed.
    """
    if not space.grid:
        raise ArgumentError(
            f"{space.name} holds {len(space)} of its combinations of choices, and ConfigSpace would name others: "
            "take the JSON Schema, which lists them"
        )
    try:
        from ConfigSpace import Categorical, ConfigurationSpace  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise MissingDependencyError(
            "the export needs ConfigSpace, which is not installed: pip install ConfigSpace"
        ) from error
    found = ConfigurationSpace(name=space.name, seed=seed)
    found.add(
        *(
            Categorical(name, list(choices))
            for name, choices in zip(space.coordinates, space.choices, strict=True)
        )
    )
    return found
