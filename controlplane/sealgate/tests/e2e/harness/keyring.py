"""Key ring files for `provider = "file"`."""

import os
from pathlib import Path


def create(path: Path) -> None:
    raise NotImplementedError
