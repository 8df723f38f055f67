"""Operators and numbers are changed one at a time, and the tests of the room have to notice.

`python -m tests.mutants [FILE ...]`: files of selfwise, by default the lines that differ from main.
cosmic-ray does the work, in a copy, so that nothing here is touched. A change costs a start of
pytest, about ten seconds. What survives is shown as a difference; some of it changes nothing that
matters, the rest lacks a test.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIMIT = 600  # seconds that the tests of a change may take
# one change of each operator; all would be ten times as many, which fall to the same tests
CHANGES = (
    "ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_FloorDiv|Pow_Mul)",
    "ReplaceBinaryOperator_(BitAnd_BitOr|RShift_LShift|LShift_RShift|BitXor_BitAnd)",
    "ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|IsNot_Is)",
    "ReplaceUnaryOperator_(Delete_USub|Delete_Invert|Delete_Not)",
    "ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd",
    "NumberReplacer|ZeroIterationForLoop",
)
CONFIG = """
[cosmic-ray]
module-path = {files}
timeout = {limit}
test-command = "{python} -m pytest -q -x -p no:cacheprovider -m 'not slow' {tests}"
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = ["(?!core/({changes})$)"]
[cosmic-ray.filters.git-filter]
branch = "{branch}"
"""


def find_tests(file: Path, tests: Path) -> list[Path]:
    """The tests of a file by name, else those of its room."""
    folder = tests / file.relative_to("selfwise").parent
    while not folder.is_dir():
        folder = folder.parent
    return sorted(folder.glob(f"test_{file.stem}*.py")) or [folder]


@contextmanager
def copy_tree() -> Iterator[Path]:
    """What is in this folder now, committed or not, in another one."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        _run("git", "worktree", "add", "--quiet", "--detach", str(copy), cwd=ROOT)
        try:
            changes = _run("git", "diff", "HEAD", "--binary", cwd=ROOT)
            if changes:
                _run("git", "apply", cwd=copy, text=changes)
            yield copy
        finally:
            _run("git", "worktree", "remove", "--force", str(copy), cwd=ROOT)


def mutate(copy: Path, file: Path, tests: list[str], branch: str | None) -> str:
    """The report of what survived in a file."""
    chosen = tests or [str(path.relative_to(copy)) for path in find_tests(file, copy / "tests")]
    told = {"files": repr([str(file)]), "python": sys.executable, "tests": " ".join(chosen)}
    config, session = copy.parent / "config.toml", copy.parent / f"{file.stem}.sqlite"
    config.write_text(
        CONFIG.format(**told, limit=LIMIT, changes="|".join(CHANGES), branch=branch or "")
    )
    cosmic_ray, tools = [sys.executable, "-m", "cosmic_ray.cli"], "cosmic_ray.tools"
    _run(*cosmic_ray, "baseline", str(config), cwd=copy)  # green without any change
    _run(*cosmic_ray, "init", str(config), str(session), cwd=copy)
    filters = ["operators_filter", "git"] if branch else ["operators_filter"]
    for name in filters:
        module = f"{tools}.filters.{name}"
        _run(sys.executable, "-m", module, str(session), str(config), cwd=copy)
    _run(*cosmic_ray, "exec", str(config), str(session), cwd=copy)
    report = "from cosmic_ray.tools.report import report; report()"
    return _run(
        sys.executable, "-c", report, "--surviving-only", "--show-diff", str(session), cwd=copy
    )


def _run(*command: str, cwd: Path, text: str | None = None) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        command, cwd=cwd, input=text, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="files of selfwise, whole")
    parser.add_argument("--branch", default="main", help="without files: lines that differ from it")
    parser.add_argument("--tests", nargs="*", default=[], help="other tests than those of the room")
    told = parser.parse_args()
    files, branch = told.files, None
    if not files:
        branch = told.branch
        changed = _run("git", "diff", "--name-only", branch, "--", "selfwise", cwd=ROOT).split()
        files = [Path(name) for name in changed if name.endswith(".py") and (ROOT / name).exists()]
    with copy_tree() as copy:
        for file in files:
            print(f"== {file}\n{mutate(copy, file, told.tests, branch)}", flush=True)


if __name__ == "__main__":
    main()
