"""Runs that are trained once for all files of this folder."""

import pytest

from tests.helpers.exchange_cases import IMAGE_RUNS, image_run, photographs


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A function: the name of a run of `IMAGE_RUNS` -> the run, not to be written into.

    It is trained where it is asked for first, on photographs of its size.
    """
    made, home = {}, tmp_path_factory.mktemp("trained")

    def get(kind):
        if kind not in made:
            size = IMAGE_RUNS[kind][1]
            files = home / f"{size} px"
            if not files.exists():
                photographs(files, short=size)
            made[kind] = image_run(kind, home / kind, files)
        return made[kind]

    return get
