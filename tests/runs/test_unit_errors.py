"""Wrong sound, wrong units, wrong options: one sentence, exit code 2, and nothing left behind."""

import re
import shutil

import numpy as np
import pytest
import soundfile

from selfwise.cli import main as cli
from selfwise.core.types import RATE
from selfwise.runs.create import pretrain
from selfwise.runs.open import load
from tests.helpers import unit_cases as cases
from tests.helpers.command_lines import replace_options


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELFWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    return cases.voices(tmp_path_factory.mktemp("speech") / "voices", 8)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return cases.pictures(tmp_path_factory.mktemp("images") / "pictures", 12)


@pytest.fixture(scope="module")
def runs(voices, pictures, tmp_path_factory):
    """hubert, beit, and image tokenizers of other sizes, patches and channels."""
    root = tmp_path_factory.mktemp("runs")
    more = {"steps": 1, "save_every": 1}
    codec = {**cases.CODEC, **more}
    grey = cases.pictures(root / "grey pictures", 8, mode="L")
    wide = {**codec, "encoder_options": {**codec["encoder_options"], "patch": 8}}
    made = {
        "hubert": ("hubert", voices, cases.SPEECH | more),
        "beit": ("beit", pictures, cases.PATCHES | more),
        "larger": ("fsq", pictures, codec | {"image_size": 24}),
        "grey": ("fsq", grey, codec | {"channels": 1}),
        "wide": ("fsq", pictures, wide),
    }
    for name, (method, data, told) in made.items():
        pretrain(method, data=data, out=root / name, **told)
    text = root / "text.txt"
    text.write_text(
        "\n\n".join(f"the sea was calm on day {i} and so was the boat" for i in range(40))
    )
    told = {
        "encoder": "gpt-tiny",
        "encoder_options": {"dim": 32, "heads": 2, "length": 16},
        "steps": 1,
    }
    told |= {
        "tokenizer": "chars",
        "max_length": 16,
        "batch_size": 4,
        "cpu_threads": 1,
        "quiet": True,
    }
    pretrain("gpt", data=text, out=root / "text", documents="blank", monitor_every=0, **told)
    return {name: root / name for name in [*made, "text"]}


@pytest.fixture
def refused(capsys, tmp_path):
    """A function: runs a command line, which must fail with one sentence that has all words."""

    def check(*arguments, words=()) -> None:
        capsys.readouterr()
        out = tmp_path / "refused"
        code = cli.main([*(str(word) for word in arguments), "--out", str(out)])
        error = capsys.readouterr().err
        assert code == 2, error
        ours = [line for line in error.splitlines() if line.startswith("selfwise: ")]
        assert len(ours) == 1, error
        assert error.splitlines()[-1] == ours[0]
        assert not re.search(r"Traceback|beartype|jaxtyping|Error", error), error
        for word in words:
            assert str(word) in ours[0], (word, ours[0])
        assert not out.exists(), "something was written"

    return check


def speech(data, *more, **changed):
    return ["pretrain", "hubert", "--data", data, *cases.flags(cases.SPEECH | changed), *more]


def patches(data, *more, **changed):
    return ["pretrain", "beit", "--data", data, *cases.flags(cases.PATCHES | changed), *more]


@pytest.fixture
def spoiled(voices, tmp_path):
    """Good recordings, and one that a test adds."""
    return shutil.copytree(voices, tmp_path / "spoiled")


def test_files_that_are_no_sound(refused, spoiled):
    (spoiled / "low" / "words.wav").write_text("hello\n" * 100)
    refused(*speech(spoiled), words=("words.wav", "--skip-broken"))
    (spoiled / "low" / "words.wav").unlink()
    (spoiled / "low" / "nothing.wav").touch()
    refused(*speech(spoiled), words=("nothing.wav", "--skip-broken"))
    (spoiled / "low" / "nothing.wav").unlink()
    sound = np.sin(np.arange(8000) / 9)
    sound[4000] = np.nan
    soundfile.write(spoiled / "low" / "nan.wav", sound, RATE, subtype="FLOAT")
    refused(*speech(spoiled), words=("nan.wav", "NaN", "--skip-broken"))


def test_clips_without_sound_are_left_out_counted_and_listed(spoiled, tmp_path, capsys):
    soundfile.write(spoiled / "low" / "silent.wav", np.zeros(9000), RATE)
    soundfile.write(spoiled / "low" / "empty.wav", np.zeros(0), RATE)
    soundfile.write(spoiled / "low" / "short.wav", np.full(300, 0.1), RATE)
    (spoiled / "low" / "words.wav").write_text("hello\n" * 100)
    out = tmp_path / "run"
    line = speech(spoiled, "--skip-broken", "--out", out, quiet=False)
    assert cli.main([str(word) for word in line]) == 0
    assert "4 files are left out" in capsys.readouterr().err
    lines = (out / "left_out.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"low/{name}.wav" for name in ("empty", "short", "silent", "words")
    ]
    assert load(out).record.info.left_out == 4
    assert load(out).record.info.examples == 6


def test_nothing_but_silence(refused, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "silent").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "silent" / f"{name}.wav", np.zeros(9000), RATE)
    refused(*speech(tmp_path / "silent"), words=("silent", "none of the 2"))


def test_eight_channels_at_192_khz(spoiled, tmp_path):
    sound = np.sin(np.arange(96_000)[:, None] / np.arange(20, 28))
    soundfile.write(spoiled / "low" / "many.wav", 0.1 * sound, 192_000)
    out = tmp_path / "run"
    assert cli.main([str(w) for w in [*speech(spoiled, steps=1), "--out", out]]) == 0
    vectors = tmp_path / "v.npz"
    told = ["embed", out, "--data", spoiled / "low" / "many.wav", "--out", vectors]
    assert cli.main([str(w) for w in told]) == 0
    assert np.isfinite(np.load(vectors)["vectors"]).all()


def test_numbers_that_cannot_be(refused, voices):
    refused(*speech(voices, num_clusters=100_000), words=("100", "clusters", "features"))
    refused(*speech(voices, num_clusters=1), words=("clusters", "at least 2"))
    refused(
        *speech(voices, max_clip_seconds=5.0), words=("--max-clip-seconds 5", "--batch-seconds 3")
    )
    refused(*speech(voices, max_clip_seconds=0.01), words=("--max-clip-seconds", "frame"))
    refused(*speech(voices, val_fraction=1.0), words=("--val-fraction",))
    refused(*speech(voices, val_fraction=0.99), words=("0.99", "held-out"))
    refused(*speech(voices, "--batch-size", 4), words=("--batch-size", "--batch-seconds"))
    refused(*speech(voices, "--knn-every", 2), words=("--knn-every",))
    refused(*speech(voices, "--exclude", "*nobody*"), words=("nobody",))
    refused(*speech(voices, mask_length=0), words=("mask",))


def test_encoders_that_do_not_fit(refused, voices, pictures):
    beit = {"encoder": "beit-tiny", "encoder_options": {}}
    refused(*speech(voices, **beit), words=("beit-tiny", "hubert"))
    refused(*speech(voices, encoder="resnet18"), words=("resnet18", "hubert"))
    refused(*patches(pictures, encoder="resnet18"), words=("resnet18", "beit"))
    refused(*patches(pictures, encoder="hubert-tiny"), words=("hubert-tiny", "beit"))
    large = {"encoder": "beit-tiny", "encoder_options": {"patch": 32}}
    refused(*patches(pictures, **large), words=("32 px", "16 px"))
    odd = {"encoder": "beit-tiny", "encoder_options": {"patch": 5}}
    refused(*patches(pictures, **odd), words=("5 px", "16 px"))
    fsq = ["pretrain", "fsq", "--data", pictures, *cases.flags(cases.CODEC)]
    refused(*replace_options(fsq, "--encoder.patch", 32), words=("32", "16"))


@pytest.mark.run
def test_units_that_are_none(refused, voices, pictures, runs, tmp_path):
    (tmp_path / "plain").mkdir()
    for command, data, own in ((speech, voices, "mfcc"), (patches, pictures, "patches")):
        refused(*command(data, targets="mfc"), words=("--targets", own, "mfc"))
        refused(*command(data, targets=tmp_path / "none"), words=("--targets", own, "none"))
        refused(*command(data, targets=tmp_path / "plain"), words=("plain", "run"))
        refused(*command(data, targets=runs["text"]), words=("--targets", "text"))
    refused(*speech(voices, targets=runs["beit"]), words=("--targets", "image"))
    refused(*patches(pictures, targets=runs["hubert"]), words=("--targets", "audio"))


def test_units_of_a_layer_that_is_not_there(refused, voices, pictures, runs):
    for layer in (2, -3):
        told = {"target_layer": layer}
        refused(*speech(voices, targets=runs["hubert"], **told), words=(f"{layer}", "0 to 1"))
        refused(*patches(pictures, targets=runs["beit"], **told), words=(f"{layer}", "0 to 1"))


def test_tokenizers_of_other_images(refused, pictures, runs):
    refused(*patches(pictures, targets=runs["larger"]), words=("24 px", "16 px", "--image-size 24"))
    refused(*patches(pictures, targets=runs["grey"]), words=("1 channel", "3", "--channels 1"))
    refused(*patches(pictures, targets=runs["wide"]), words=("8 px", "4 px"))


def test_more_clusters_than_patches(refused, pictures):
    refused(*patches(pictures, num_clusters=100_000), words=("clusters", "features"))


def test_iterations_that_cannot_be(refused, voices, pictures):
    words = ["iterate", *speech(voices)[1:]]
    refused(*words, "--iterations", 0, words=("--iterations",))
    simclr = ["iterate", "simclr", "--data", pictures, "--steps", 2]
    refused(*simclr, words=("simclr", "beit or hubert"))


def test_probes_that_there_are_not(runs, voices, capsys):
    told = ["probe", runs["hubert"], "--train", voices]
    cases_ = [
        (["--kind", "finetune"], "images"),
        (["--supervised-baseline"], "images"),
        (["--layer", "9"], "0 to 1"),
        (["--pooling", "meen"], "mean"),
        (["--window", "first"], "--window is for text"),
        (["--kind", "weighted", "--layer", "1"], "--layer"),
        (["--kind", "wieghted"], "weighted"),
    ]
    for more, word in cases_:
        capsys.readouterr()
        assert cli.main([str(w) for w in (*told, *more)]) == 2
        (line,) = [t for t in capsys.readouterr().err.splitlines() if t.startswith("selfwise: ")]
        assert word in line


def test_micro_batches_of_speech_may_be_unequal(voices, tmp_path):
    """A step has as many recordings as seconds allow; in two parts the loss is the same."""
    losses = []
    still = dict.fromkeys(("dropout", "input_dropout", "attention_dropout"), 0.0)
    encoder = cases.SPEECH["encoder_options"] | still
    for parts in (1, 2):
        told = cases.SPEECH | {
            "encoder_options": encoder,
            "grad_accum_steps": parts,
            "log_every": 1,
        }
        run = pretrain("hubert", data=voices, out=tmp_path / str(parts), **told)
        losses.append([line["masked_loss"] for line in cases.logged(run.folder)])
    source_rows = load(tmp_path / "2").record.training.batch_size
    assert source_rows > 1
    assert np.isclose(losses[0][0], losses[1][0], rtol=1e-6)
    assert np.allclose(losses[0], losses[1], rtol=1e-3)  # Adam enlarges what rounding leaves


def test_the_users_batch_is_still_divided_evenly(refused, pictures):
    refused(
        *patches(pictures, "--grad-accum-steps", 3),
        words=("--grad-accum-steps 3", "--batch-size 8"),
    )
