"""Takes the tables to where data sets are shared: Parquet files described by Croissant metadata.

Croissant is MLCommons' vocabulary for data sets (version 1.0, https://docs.mlcommons.org/croissant/docs/croissant-spec.html).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from nasbench_kd.errors import DataError
from nasbench_kd.files import atomic_write, write_text
from nasbench_kd.spaces.space import SearchSpace
from nasbench_kd.tables.catalog import Data, tables
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.registry import SHIPPED, find_task

METADATA = "croissant.json"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FIELDS = {
    "task": ("sc:Text", "data set of the training"),
    "fidelity": (
        "sc:Text",
        "how the architecture was trained: distillation, epochs, images, batch, size, network",
    ),
    "split": ("sc:Text", "valid or test: the images of the accuracy"),
    "cell": ("sc:Integer", "index of the architecture in the order of its search space"),
    "architecture": ("sc:Text", "the architecture as text"),
    "seed": ("sc:Integer", "training seed; 0 where the source gives only a mean over seeds"),
    "seconds": ("sc:Float", "training time on the table's clock, in seconds"),
}


def export_croissant(folder: Path | str, version: str, data: Data = "embedded") -> list[Path]:
    """Write a folder with one Parquet file a table and `croissant.json`; returns the paths.

    A row is an entry: the columns of `_FIELDS`, and one a reading (accuracies in percent, null where it was
    not read or the training diverged). `version` is the data set's. Raises `DataError` where a table is damaged or
    the folder has such a file already.
    """
    folder = Path(folder)
    if (folder / METADATA).exists():
        raise DataError(f"{folder / METADATA} exists; name another folder")
    paths, described = [], []
    for table in tables(data, *SHIPPED.values()):
        path = folder / f"{table.name}.parquet"
        content = _content(table)
        with atomic_write(path) as file:
            pq.write_table(content, file, compression="zstd")
        paths.append(path)
        described.append((table, path, content.column_names))
    write_text(folder / METADATA, json.dumps(_metadata(described, version), indent=2) + "\n")
    return [*paths, folder / METADATA]


def _content(table: Table) -> pa.Table:
    """All entries of a table, its columns one under the other."""
    names: dict[SearchSpace, npt.NDArray[np.object_]] = {}
    parts = []
    for column in table.columns:
        rows, count, space = column.rows, len(column.rows), find_task(column.task).space
        if space not in names:
            names[space] = np.array(list(map(str, space)), dtype=object)
        readings = {signal: pa.array(column.values(signal), from_pandas=True) for signal in column.signals}
        parts.append(
            pa.table(
                {
                    "task": pa.repeat(column.task, count),
                    "fidelity": pa.repeat(str(column.fidelity), count),
                    "split": pa.repeat(column.split, count),
                    "cell": rows["cell"].astype(np.int32),
                    "architecture": pa.array(names[space][rows["cell"]], pa.string()),
                    "seed": rows["seed"].astype(np.int32),
                    "seconds": rows["microseconds"] / 1e6,
                    **readings,
                }
            )
        )
    return pa.concat_tables(parts, promote_options="default")


def _metadata(described: list[tuple[Table, Path, list[str]]], version: str) -> dict[str, Any]:
    attributions = [line for table, *_ in described for line in table.card.get("attribution", ())]
    licences = dict.fromkeys(str(table.card.get("licence", "")) for table, *_ in described)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": "nasbench-kd",
        "description": "Trainings of architectures of several search spaces at many fidelities, with and without "
        "knowledge distillation, each with its source.",
        "version": version,
        "license": "; ".join(licences),
        "citeAs": "; ".join(dict.fromkeys(attributions)),
        "isLiveDataset": False,
        "distribution": [_file(table, path) for table, path, _ in described],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": table.name,
                "name": table.name,
                "description": str(table.card.get("title", "")),
                "field": [_field(table.name, name) for name in columns],
            }
            for table, _, columns in described
        ],
    }


def _file(table: Table, path: Path) -> Mapping[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "description": f"{table.card.get('title', '')}. Source: {table.card.get('source', '')}. Licence: "
        f"{table.card.get('licence', '')}. Made from the table with SHA-256 {table.sha256}.",
        "contentUrl": path.name,
        "encodingFormat": "application/x-parquet",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _field(table: str, name: str) -> Mapping[str, Any]:
    kind, text = _FIELDS.get(name, ("sc:Float", f"the reading {name}; accuracies in percent"))
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{name}",
        "name": name,
        "description": text,
        "dataType": kind,
        "source": {"fileObject": {"@id": f"{table}.parquet"}, "extract": {"column": name}},
    }
