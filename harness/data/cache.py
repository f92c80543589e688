"""Where generated data and what was learned of files are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def data_cache() -> Path:
    """Folder for data that can be made again: `$HARNESS_CACHE/data`, else the user's cache folder."""
    given = os.environ.get("HARNESS_CACHE")
    return (Path(given).expanduser() if given else platformdirs.user_cache_path("wsss-harness")) / "data"
