"""Data frames for users of pandas, which the extra `report` installs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nasbench_kd.errors import MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd


def frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """A DataFrame of columns of equal length; raises `MissingDependencyError` where pandas is not installed."""
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingDependencyError(
            "data frames need pandas; install the extra: pip install 'nasbench-kd[report]'"
        ) from error
    return pd.DataFrame(dict(columns))
