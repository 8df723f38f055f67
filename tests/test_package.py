"""The files around the code: metadata, citation, workflow, forms, Dockerfile, and the promises."""

import ast
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from selfwise.commands import import_commands

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}  # of fields of a form


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile with its argument, without comments and line breaks."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(word, " ".join(rest.split())) for word, rest in parts]


def arguments(word: str) -> list[str]:
    return [value for name, value in instructions(read("Dockerfile")) if name == word]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore leaves a path out; the last pattern that fits decides."""
    ignored = False
    for line in read(".dockerignore").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch(path, pattern):
            ignored = not line.startswith("!")
    return ignored


def test_the_metadata_say_what_is_supported():
    assert PROJECT["requires-python"] == ">=3.11"
    wanted = {"Operating System :: POSIX :: Linux", "Typing :: Typed"}
    wanted |= {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)}
    assert wanted <= set(PROJECT["classifiers"])
    assert (ROOT / "selfwise" / "py.typed").is_file()
    # PEP 639: the expression alone
    assert PROJECT["license"] == "Apache-2.0"
    assert not [name for name in PROJECT["classifiers"] if name.startswith("License")]


def test_the_citation_agrees_with_the_metadata():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "abstract", "keywords"} <= citation.keys()
    assert citation["type"] == "software"
    assert citation["title"] == PROJECT["name"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one_that_github_accepts(path):
    form = yaml.safe_load(path.read_text("utf-8"))
    if path.stem == "config":
        assert form.keys() <= {"blank_issues_enabled", "contact_links"}
        return
    assert form["name"]
    assert form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in form["body"]} <= KINDS
    assert all(field["attributes"]["label"] for field in fields)
    names = [field["id"] for field in fields]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+", name) for name in names)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_commands_that_the_forms_ask_for_exist():
    words = re.findall(r"`selfwise (\w+)`", "".join(map(Path.read_text, FORMS)))
    assert words
    assert {*words} <= set(import_commands())


def test_the_workflow_runs_the_targets_of_the_makefile_on_every_python():
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    jobs = workflow["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    targets = [step["run"].split()[1] for step in steps if step.get("run", "").startswith("make ")]
    assert targets == ["check", "test", "docs"]
    for target in targets:
        assert re.search(rf"^{target}:", read("Makefile"), re.MULTILINE), target
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in jobs.values())
    actions = [step["uses"] for step in steps if "uses" in step]
    assert actions
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in actions)
    versions = jobs["plain-install"]["strategy"]["matrix"]["python-version"]
    assert versions == ["3.11", "3.12", "3.13"]
    words = [step["run"].split() for step in steps if step.get("run", "").startswith("selfwise ")]
    assert {word for _, word, *_ in words} <= set(import_commands())


def test_the_image_is_pinned_and_runs_as_a_user():
    assert arguments("FROM") == ["python:3.11-slim-bookworm"]
    order = [word for word, _ in instructions(read("Dockerfile"))]
    assert arguments("USER") == ["selfwise"]
    assert order.index("RUN") < order.index("USER") < order.index("ENTRYPOINT")
    assert "useradd --create-home --uid 1000 selfwise" in " ".join(arguments("RUN"))
    assert arguments("ENTRYPOINT") == ['["selfwise"]']
    assert "selfwise" in PROJECT["scripts"]


def test_the_image_fetches_nothing_but_packages():
    assert not arguments("ADD")
    commands = " && ".join(arguments("RUN")).split(" && ")
    (install,) = [command for command in commands if "install" in command]
    assert install == 'pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}"'
    assert not [command for command in commands if re.search(r"curl|wget|git |apt", command)]


def test_the_image_gets_what_the_build_needs():
    copied = {path for value in arguments("COPY") for path in value.split()[:-1]}
    assert copied == {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "selfwise"}
    for path in copied:
        assert (ROOT / path).exists(), path
        assert not is_ignored(path), path
    assert is_ignored(".git")
    assert is_ignored("runs")


def test_the_extras_that_the_dockerfile_names_exist():
    names = re.findall(r"EXTRAS=([a-z0-9]+(?:,[a-z0-9]+)*)", read("Dockerfile"))
    assert names
    assert {one for name in names for one in name.split(",")} <= set(
        PROJECT["optional-dependencies"]
    )


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    tree = ast.walk(ast.parse(path.read_text("utf-8")))
    return [(ast.unparse(node.func), node) for node in tree if isinstance(node, ast.Call)]


def unsafe(path: Path) -> list[str]:
    """Calls that could run code from a file."""
    names = []
    for name, call in calls(path):
        options = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if name == "torch.load" and options.get("weights_only") != "True":
            names.append(name)
        if options.get("allow_pickle", "False") != "False":
            names.append(name)
        if re.fullmatch(r"(pickle|marshal|joblib|dill)\.loads?|yaml\.(unsafe_|full_)?load", name):
            names.append(name)
        if name in ("eval", "exec"):
            names.append(name)
    return names


def test_nothing_in_the_code_can_run_code_from_a_file():
    found = {path: unsafe(path) for path in sorted((ROOT / "selfwise").rglob("*.py"))}
    assert not {path: names for path, names in found.items() if names}


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "pickle.load(stream)",
        "yaml.load(text)",
        "eval(text)",
    ],
)
def test_a_call_that_could_run_code_is_seen(line, tmp_path):
    (tmp_path / "a.py").write_text(line)
    assert unsafe(tmp_path / "a.py")
