"""A folder for what a row makes; it is gone when the process ends."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def scratch() -> Path:
    """An empty folder, in which selfwise's caches are too: nothing is left from an earlier run."""
    home = Path(tempfile.mkdtemp(prefix="selfwise-benchmark-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["SELFWISE_CACHE"] = str(home / "cache")
    return home
