"""Code from outside the package: methods, encoders and data that are not part of selfwise."""

import os
import re
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import selfwise
from selfwise.cli import main as cli
from selfwise.core import plugins
from selfwise.runs.run_yaml import read_record
from selfwise.testing import check_method

SOURCE = '''
"""A method and an encoder of somebody else."""

from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

import selfwise
from selfwise.core.types import Step, Term
from selfwise.methods.needs import IMAGE_SIZE, FromData


class Images(NamedTuple):
    x: Tensor


def mean_brightness(data):
    """Of a sample of the images."""
    means = [x.mean(dim=(1, 2, 3)) for x in data.sample(50, purpose="brightness")]
    return torch.cat(means).mean()[None]


class Brightness(selfwise.Method):
    """Tell how bright an image is.

    Args:
        encoder: any image encoder.
        size: side of the views in px.
        brightness: of the images on average.
        scale: of the loss.
    """

    modality = "image"
    needs = MappingProxyType({"size": IMAGE_SIZE, "brightness": FromData(mean_brightness)})

    def __init__(self, encoder, *, size: int, brightness: Tensor,
                 scale: Annotated[float, Gt(0)] = 1.0):
        super().__init__()
        self.encoder, self.size, self.scale = encoder, size, scale
        self.register_buffer("brightness", brightness, persistent=False)
        self.head = nn.Linear(encoder.dim, 1)

    def view(self, batch, rng):
        return Images(batch.x.float() / 255)

    def counts(self, view):
        return {"mse": view.x.new_full((), len(view.x))}

    def forward(self, view):
        target = view.x.mean(dim=(1, 2, 3)) - self.brightness
        error = self.head(self.encoder(view.x).pooled)[:, 0] - target
        total = error.square().sum() * self.scale
        return Step({"mse": Term(total, self.counts(view)["mse"])}, {})


def tiny(in_channels: int, *, width: Annotated[int, Ge(1)] = 4) -> nn.Module:
    """Two convolutions.

    Args:
        in_channels: of the images.
        width: channels of the first.
    """
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3), nn.ReLU(), nn.Conv2d(width, 2 * width, 3)
    )
'''
QUICK = ["--steps", "4", "--save-every", "2", "--batch-size", "8", "--cpu-threads", "1", "--quiet"]
FAST = {"steps": 4, "save_every": 2, "batch_size": 8, "cpu_threads": 1, "quiet": True}


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch, tmp_path):
    """Nothing is allowed but by the test itself; modules of one test are not those of another."""
    monkeypatch.setenv(plugins.ALLOWED, "")
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("selfwise_plugin_", "theirs")):
            del sys.modules[name]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package outside the tree with entry points, as an installer leaves it."""
    site = tmp_path / "site"
    (site / "theirs").mkdir(parents=True)
    (site / "theirs" / "__init__.py").write_text(SOURCE)
    about = site / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        textwrap.dedent("""
        [selfwise.methods]
        brightness = theirs:Brightness
        [selfwise.encoders]
        theirs_tiny = theirs:tiny
        """)
    )
    monkeypatch.syspath_prepend(str(site))
    return site


def run_cli(capsys, *words) -> tuple[int, str, str]:
    code = cli.main([str(word) for word in words])
    output = capsys.readouterr()
    return code, output.out, output.err


def pretrain_from_file(capsys, out: str, *more) -> None:
    words = ["pretrain", "mine.py:Brightness", "--data", "digits:train", "--out", out]
    words += ["--encoder", "mine.py:tiny", "--encoder.width", "3", "--scale", "2", *QUICK]
    code, _, err = run_cli(capsys, *words, *more)
    assert code == 0, err
    os.environ[plugins.ALLOWED] = ""  # as in another process, where nobody has typed its name


def test_a_run_on_code_from_outside_records_where_it_is_from(file, capsys):
    pretrain_from_file(capsys, "run")
    record = read_record(file.parent / "run")
    assert record.method == f"{file}:Brightness"
    assert record.encoder_name == f"{file}:tiny"
    assert record.config["scale"] == 2.0
    assert record.encoder_options == {"width": 3}
    assert set(record.code) == {"method", "encoder"}


COMMANDS = {
    "probe": ["--train", "digits:train", "--test", "digits:test", "--kind", "knn",
              "--labels-per-class", "5", "--seeds", "1"],
    "embed": ["--data", "digits:test", "--out", "vectors.npz"],
    "export": ["--to", "safetensors", "--out", "exported"],
    "resume": [],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_folder_causes_no_import_until_the_plugin_is_given(command, file, capsys):
    pretrain_from_file(capsys, "run")
    monkey = dict(sys.modules)
    for name in [n for n in monkey if n.startswith("selfwise_plugin_")]:
        del sys.modules[name]
    code, _, err = run_cli(capsys, command, "run", *COMMANDS[command])
    assert code == 2
    assert f"--plugin {file}" in err
    assert err.count("\n") == 1
    assert not any(name.startswith("selfwise_plugin_") for name in sys.modules)
    code, _, err = run_cli(capsys, command, "run", *COMMANDS[command], "--plugin", "mine.py")
    assert code == 0, err


def test_a_start_from_such_a_run_asks_for_its_plugin_too(file, capsys):
    pretrain_from_file(capsys, "run")
    words = ["pretrain", "simclr", "--data", "digits:train", "--init-from", "run", "--out", "next"]
    words += ["--steps", "1", "--batch-size", "16"]
    code, _, error = run_cli(capsys, *words)
    assert code == 2
    assert "--plugin" in error
    assert len(error.strip().splitlines()) == 1
    code, _, error = run_cli(capsys, *words, "--plugin", str(file))
    assert code == 0, error


@pytest.mark.run
def test_show_and_report_work_on_runs_of_code_from_outside(file, capsys):
    pretrain_from_file(capsys, "run")
    code, out, err = run_cli(capsys, "show", "run")
    assert (code, err) == (0, "")
    assert "mine.py:Brightness" in out
    code, _, err = run_cli(capsys, "report", "run", "--plugin", "mine.py")
    assert code == 0, err


def test_a_stopped_run_is_resumed_bitwise(file, capsys):
    pretrain_from_file(capsys, "whole")
    pretrain_from_file(capsys, "stopped")
    shutil.rmtree("stopped/checkpoints/step-00000004")
    code, _, err = run_cli(capsys, "resume", "stopped", "--plugin", "mine.py", "--quiet")
    assert code == 0, err
    weights = [
        (file.parent / name / "checkpoints/step-00000004/model.safetensors").read_bytes()
        for name in ("whole", "stopped")
    ]
    assert weights[0] == weights[1]


def test_changed_code_is_named_at_resume(file, capsys):
    pretrain_from_file(capsys, "run")
    shutil.rmtree("run/checkpoints/step-00000004")
    file.write_text(SOURCE + "\n# another thought\n")
    code, _, err = run_cli(capsys, "resume", "run", "--plugin", "mine.py")
    assert code == 0
    assert f"warning: {file}:Brightness was changed since run was started" in err


@pytest.mark.parametrize("method", [[], ["mine.py:Brightness"]])
def test_a_config_file_names_no_code(file, capsys, method):
    """Neither its method, which it gives where none is typed, nor its encoder."""
    pretrain_from_file(capsys, "run")
    words = ["pretrain", *method, "--config", "run/run.yaml", "--out", "other"]
    code, _, err = run_cli(capsys, *words)
    assert code == 2
    assert "a file does not cause an import" in err
    assert ("mine.py:tiny" if method else "mine.py:Brightness") in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing.py:Brightness"], "nothing.py: this file does not exist"),
        (["mine.py:Missing"], "mine.py has no Missing"),
        (["mine.py:tiny"], "is not a method"),
        (["broken.py:M"], "broken.py cannot be imported: NameError: name 'foo' is not defined (li"),
        (["broken:M"], "broken cannot be imported: NameError: name 'foo' is not defined (broken.p"),
        (["mine.py:Brightness", "--plugin", "none.py"], "none.py: this file does not exist"),
        (["nowhere_at_all:Method"], "module nowhere_at_all does not exist"),
        (["mine.py:Brightness", "--encoder", "mine.py:missing"], "mine.py has no missing"),
        (["mine.py:Brightness", "--scale", "0"], "--scale must be above 0, got 0"),
        (["mine.py:Brightness", "--scael", "1"], "unknown option --scael; did you mean '--scale'?"),
        (
            ["mine.py:Brightness", "--encoder", "mine.py:tiny", "--encoder.widht", "3"],
            "unknown option --encoder.widht; did you mean '--encoder.width'?",
        ),
    ],
)
def test_mistakes_are_one_sentence(words, sentence, file, capsys, monkeypatch):
    more = ["--data", "digits:train", "--out", "run"]
    file.with_name("broken.py").write_text("import os\n\nfoo()\n")
    monkeypatch.syspath_prepend(str(file.parent))
    code, _, err = run_cli(capsys, "pretrain", *words, *more)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert not (file.parent / "run").exists()


def test_installed_packages_add_methods_and_encoders_by_name(package, capsys):
    code, out, _ = run_cli(capsys, "methods")
    assert code == 0
    assert "brightness" in out
    words = ["pretrain", "brightness", "--data", "digits:train", "--out", "run"]
    code, _, err = run_cli(capsys, *words, "--encoder", "theirs_tiny", *QUICK)
    assert code == 0, err
    record = read_record(package.parent / "run")
    assert (record.method, record.encoder_name) == ("brightness", "theirs_tiny")
    run = selfwise.load("run")  # installing a package is consent
    assert type(run.method).__name__ == "Brightness"


def test_a_broken_installed_package_is_one_sentence(package, capsys):
    (package / "theirs" / "__init__.py").write_text("def a():\n    foo()\n\n\na()\n")
    reason = "cannot be imported: NameError: name 'foo' is not defined (__init__.py, line 2)"
    more = ["--data", "digits:train", "--out", "run"]
    code, _, err = run_cli(capsys, "pretrain", "brightness", *more)
    assert (code, err) == (
        2,
        f"selfwise: theirs:Brightness, the entry point brightness of selfwise.methods, {reason}\n",
    )
    code, _, err = run_cli(capsys, "pretrain", "simclr", "--encoder", "theirs_tiny", *more)
    assert (code, err) == (
        2,
        f"selfwise: theirs:tiny, the entry point theirs_tiny of selfwise.encoders, {reason}\n",
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batchsize": 4}, "unknown option batchsize; did you mean 'batch_size'?"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (
            {"encoder": "beit-tiny", "encoder_options": {"dept": 1}},
            "unknown option encoder.dept; did you mean 'encoder.depth'?",
        ),
        (
            {"encoder": "beit-tiny", "encoder_options": {"size": 8}},
            "encoder.size is not an option of",
        ),
        ({"out": "."}, "out . is not empty; give a folder that does not exist yet"),
    ],
)
def test_python_gets_its_mistakes_as_keywords(file, arguments, sentence):
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        selfwise.pretrain(**{"method": "simclr", "data": "digits:train", "out": "run"} | arguments)


def test_a_command_line_gets_its_mistakes_as_flags_after_a_call_from_python(file, capsys):
    with pytest.raises(ValueError, match=r"^unknown option batchsize"):
        selfwise.pretrain("simclr", data="digits:train", out="run", batchsize=4)
    words = ["pretrain", "simclr", "--data", "digits:train", "--out"]
    _, _, err = run_cli(capsys, *words, "run", "--batchsize", "4")
    assert "unknown option --batchsize; did you mean '--batch-size'?" in err
    _, _, err = run_cli(capsys, *words, ".")
    assert "--out . is not empty" in err


def test_python_takes_classes_factories_and_data(package):
    import theirs

    data = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    run = selfwise.pretrain(
        theirs.Brightness,
        data=data,
        out="run",
        encoder=theirs.tiny,
        encoder_options={"width": 2},
        **FAST,
    )
    assert run.record.method == "brightness"
    assert run.record.encoder_name == "theirs:tiny"
    score = selfwise.probe(
        run,
        train="digits:train",
        test="digits:test",
        kind="knn",
        labels_per_class="5",
        seeds=1,
        quiet=True,
    )
    assert 0 < score.accuracy <= 1
    with pytest.raises(ValueError, match="given its data in Python"):
        selfwise.resume("run", plugins=["theirs"])
    other = data.copy()
    other[0] = 0
    with pytest.raises(ValueError, match="differ from the data that run was started with"):
        selfwise.resume("run", data=other, plugins=["theirs"])
    assert selfwise.resume("run", data=data, plugins=["theirs"]).weights == run.weights


def test_what_lives_in_python_alone_is_handed_over_again(package):
    import theirs

    class Local(theirs.Brightness):
        """Of a notebook, say."""

    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 6))
    told = {"data": "digits:train", "out": "run", **FAST}
    run = selfwise.pretrain(Local, encoder=module, **told)
    assert (run.record.method, run.record.encoder_name) == ("<from Python>", "<from Python>")
    with pytest.raises(ValueError, match=r"the method of .* was defined in Python"):
        selfwise.load("run")
    with pytest.raises(ValueError, match="encoder of run was passed"):
        selfwise.load("run", method=Local)
    again = selfwise.load("run", method=Local, encoder=module)
    assert torch.equal(again.method.head.weight, run.method.head.weight)
    twin = again.build_untrained(1)
    assert not torch.equal(twin.module[1].weight, module[1].weight)
    shutil.rmtree("run/checkpoints/step-00000004")
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    with pytest.raises(ValueError, match="started with another encoder"):
        selfwise.resume("run", method=Local, encoder=wide)
    resumed = selfwise.resume("run", method=Local, encoder=module, quiet=True)
    assert resumed.weights == run.weights
    with pytest.raises(ValueError, match=r"exists only in Python.*FILE\.py:NAME"):
        selfwise.pretrain(Local, devices=2, **{**told, "out": "more"})


def test_a_module_that_cannot_draw_its_weights_needs_a_factory(package):
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(64, 5))

        def forward(self, x):
            return x.flatten(1) @ self.weight

    run = selfwise.pretrain(
        "rotation", data="digits:train", out="run", encoder=Raw(), min_crop_scale=1.0, **FAST
    )
    with pytest.raises(ValueError, match="pass a function that returns the encoder"):
        run.build_untrained(0)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.LSTM(3, 3), "does not take images of 2 x 1 x 8 x 8"),
        (nn.Unflatten(2, (2, 4)), r"returns \(2, 1, 2, 4, 8\)"),
    ],
)
def test_an_encoder_that_returns_no_features_is_refused(module, sentence):
    with pytest.raises(ValueError, match=sentence):
        selfwise.pretrain("simclr", data="digits:train", out="run", encoder=module, **FAST)


def test_the_contract_test_passes_a_sound_method_and_names_what_is_broken(package):
    import theirs

    check_method(theirs.Brightness, draws=False, learns=False)

    class Broken(theirs.Brightness):
        """Draws from torch's own generator, and counts too many.

        Args:
            encoder: any image encoder.
        """

        def view(self, batch, rng):
            x = batch.x.float() / 255
            return theirs.Images(x + torch.rand(len(x), 1, 1, 1))

        def counts(self, view):
            return {"mse": view.x.new_full((), 2 * len(view.x))}

        def forward(self, view):
            target = view.x.mean(dim=(1, 2, 3))
            error = self.head(self.encoder(view.x).pooled)[:, 0] - target
            count = view.x.new_full((), len(view.x))
            return theirs.Step({"mse": theirs.Term(error.square().sum(), count)}, {})

    with pytest.raises(AssertionError) as caught:
        check_method(Broken, learns=False)
    broken = [line.strip().partition(":")[0] for line in str(caught.value).splitlines()[1:]]
    assert {"view_repeats", "global_state", "slices", "counts"} <= set(broken)


@pytest.mark.slow  # several processes
def test_several_processes_import_the_plugin_themselves(file):
    words = ["pretrain", "mine.py:Brightness", "--data", "digits:train", "--out", "run"]
    words += ["--encoder", "mine.py:tiny", "--devices", "2", *QUICK]
    code = "import sys; from selfwise.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    content = yaml.safe_load((file.parent / "run" / "run.yaml").read_text())
    assert content["resolved"]["devices"]["value"] == 2
