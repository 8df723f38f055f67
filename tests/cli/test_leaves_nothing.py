"""What a command must not leave or do: folders of failed starts, network, noise at an early end."""
# ruff: noqa: F401, F811 (fixtures of another file)

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from selfwise import commands
from selfwise.cli import main as cli
from selfwise.cli import output
from tests.cli.test_cli import TINY, flat, photos, refused, selfwise
from tests.helpers import no_network
from tests.helpers.glue_cases import write_glue

START = ["pretrain", "simclr", *TINY, "--batch-size", "16", "--cpu-threads", "1", "--quiet"]
GUARD = """
import sys
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        print("network:", event, args, file=sys.stderr, flush=True)
        raise SystemExit(99)
sys.addaudithook(watch)
from selfwise.cli import main as cli
for line in sys.stdin.read().splitlines():
    if (code := cli.main(line.split(" "))):
        print("exit code", code, line, file=sys.stderr)
        sys.exit(code)
"""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--keep-best", "knn_top1"], ["--keep-best knn_top1", "nt_xent", "--knn-every"]),
        (["--keep-best=-nt_xnet"], ["--keep-best nt_xnet", "nt_xent"]),
        (["--logger", "wandb"], ["--logger wandb", "selfwise[wandb]"]),
        (["--logger", "tensorbord"], ["tensorbord", "did you mean 'tensorboard'"]),
        (["--optimizer", "sgd", "--lr", "1", "--adam-beta2", "0.9"], ["--adam-beta2", "sgd"]),
    ],
)
def test_an_option_that_cannot_work_is_refused_before_a_folder_is_made(
    selfwise,
    photos,
    tmp_path,
    monkeypatch,
    more,
    words,
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    out = tmp_path / "run"
    refused(selfwise(*START, "--data", photos, "--out", out, "--steps", "2", *more), *words)
    assert not out.exists()


def test_a_value_that_is_logged_less_often_than_saved_is_ranked_when_it_is_there(
    selfwise,
    photos,
    tmp_path,
):
    often = ["--save-every", "1", "--knn-every", "2", "--keep-best", "knn_top1", "--steps", "3"]
    code, lines = selfwise(*START, "--data", photos, "--out", tmp_path / "run", *often)
    assert code == 0, lines


def test_a_mistake_before_the_first_checkpoint_does_not_block_the_next_attempt(
    selfwise,
    flat,
    tmp_path,
    monkeypatch,
):
    from selfwise.training.loggers import tensorboard

    def offline(run):
        raise RuntimeError("no account")

    out = tmp_path / "run"
    command = [*START, "--data", flat, "--out", out, "--steps", "2"]
    with monkeypatch.context() as patched:
        patched.setattr(tensorboard, "open_logger", offline)
        refused(selfwise(*command, "--logger", "tensorboard"), "logger tensorboard", "no account")
    assert not out.exists()
    assert selfwise(*command)[0] == 0


@pytest.mark.run
def test_lists_stand_in_columns(selfwise):
    for verb in ("methods", "recipes"):
        assert selfwise(verb)[0] == 0
        lines = selfwise.out.splitlines()
        rows = [line for line in lines if not line.startswith(" ")]  # others continue a cell
        width = max(len(row.split()[0]) for row in rows)
        assert {line[width] for line in lines} == {" "}
        second = {len(row) - len(row[width:].lstrip()) for row in rows}
        assert len(second) == 1


@pytest.mark.run  # a process
@pytest.mark.parametrize(
    "line", ["--help", "methods", "recipes", "pretrain simclr --help", "doctor"]
)
def test_a_reader_that_stops_early_ends_a_command_quietly(line, tmp_path):
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "selfwise", *line.split()]
    ended = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert ended.stderr == ""
    assert ended.returncode == output.ENDED


def test_a_broken_pipe_of_something_else_is_an_error(selfwise, monkeypatch):
    def broken():
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(commands.import_commands()["show"], "load_function", broken)
    refused(selfwise("show", "run"), "Broken pipe")


@pytest.mark.parametrize("verb", ["show", "probe", "embed", "report", "pretrain"])
def test_ctrl_c_is_a_sentence_and_130(selfwise, monkeypatch, verb):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(commands.import_commands()[verb], "load_function", interrupted)
    assert selfwise(verb, "x") == (130, [f"selfwise: {cli.STOPPED}"])


INTERRUPTED = """
import os, signal, sys, time
from selfwise.cli import main as cli
from selfwise.commands import doctor

signal.signal(signal.SIGINT, signal.default_int_handler)  # what started this may ignore it

def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

doctor.load_function = interrupted
sys.exit(cli.main(["doctor"]))
"""


@pytest.mark.run
def test_ctrl_c_in_a_process_of_its_own():
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True)
    assert ended.returncode == 130
    assert ended.stderr == f"selfwise: {cli.STOPPED}\n"


def test_the_tests_see_who_asks_the_network():
    with pytest.raises(OSError, match="reached for the network"):
        socket.create_connection(("example.org", 80))
    assert [line.split()[-1] for line in no_network.REACHED] == ["example.org"]
    no_network.REACHED.clear()


@pytest.mark.slow
def test_no_command_uses_the_network_or_writes_into_the_home(photos, tmp_path):
    texts, home, out = tmp_path / "texts", tmp_path / "home", tmp_path / "out"
    for folder in (texts, home, out):
        folder.mkdir()
    write_glue(tmp_path / "glue", tasks=("rte",))
    tone = np.sin(np.arange(16_000) / 20).astype(np.float32)
    heard = tmp_path / "heard"
    heard.mkdir()
    for i in range(12):
        soundfile.write(heard / f"{i}.wav", np.roll(tone, i) * (1 + i) / 20, 16_000)
    for i in range(24):
        (texts / f"{i}.txt").write_text(f"The sea was calm on day {i}. An island lay far out. " * 8)
    few = "--cpu-threads 1 --quiet --steps 2"
    small = f"--batch-size 16 {few}"
    tiny = "--encoder resnet18 --encoder.layers [1,1,1,1] --encoder.channels [4,4,8,8]"
    bands = "--encoder hubert-tiny --encoder.stem logmel --encoder.dim 32 --encoder.heads 2"
    bands += " --batch-seconds 4 --max-clip-seconds 1"
    lines = [
        f"pretrain simclr --data {photos} --out {out}/i {tiny} {small}",
        f"resume {out}/i --quiet",
        f"embed {out}/i --data {photos} --out {out}/v.npz",
        f"probe {out}/i --train {photos} --test {photos}",
        f"show {out}/i",
        f"report {out}/i --out {out}/page.html",
        f"tokenizer {texts} --kind bpe --vocab-size 300 --out {out}/tokenizer",
        f"pretrain gpt --data {texts} --out {out}/t --encoder gpt-tiny --max-length 16 {small}",
        f"generate {out}/t --prompt sea --max-new-tokens 3",
        f"perplexity {out}/t --data {texts}",
        *(f"export {out}/i --to {form} --out {out}/{form}" for form in ("onnx", "safetensors")),
        *(f"export {out}/t --to {form} --out {out}/text-{form}" for form in ("hf", "onnx")),
        f"import gpt {out}/text-hf --out {out}/back",
        f"bench simclr --data {photos} {tiny} --batch-size 16 --cpu-threads 1 --measure 0.1",
        f"pretrain bert --data {texts} --out {out}/b --encoder bert-tiny --max-length 16 {small}",
        f"fill {out}/b [MASK] --top-k 1",
        f"glue {out}/b --data {tmp_path}/glue --out {out}/glue --seeds 1 --limit 30",
        f"iterate hubert --data {heard} --out {out}/speech {bands} --num-clusters 4 {few}",
        f"plan simclr --data {photos} {tiny} --minutes 1",
        *(f"{verb} --out {out}/q --seeds 1" for verb in ("quickstart", "run quickstart")),
        *("methods", "recipes", "doctor", "schema", "completion bash"),
    ]
    assert {line.split()[0] for line in lines} == set(commands.import_commands())
    own = {
        "HOME": str(home),
        "SELFWISE_CACHE": str(tmp_path / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))} | own
    command, trace = [sys.executable, "-c", GUARD], tmp_path / "trace"
    if seen := shutil.which("strace"):  # what C code asks the system for, too
        command = [seen, "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(trace), *command]
    alone = shutil.which("unshare")
    if alone and not subprocess.run([alone, "--net", "true"], capture_output=True).returncode:
        command = [alone, "--net", *command]  # not even an interface, where that is allowed
    told = {"input": "\n".join(lines), "env": environment, "capture_output": True, "text": True}
    ended = subprocess.run(command, cwd=tmp_path, **told)
    assert ended.returncode == 0, ended.stderr[-2000:]
    written = [path for path in home.rglob("*") if path.is_file()]
    assert [path for path in written if not path.name.startswith("fontlist-")] == []  # matplotlib's
    asked = trace.read_text().splitlines() if trace.is_file() else []
    assert [line for line in asked if "AF_INET" in line] == []
