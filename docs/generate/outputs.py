"""Record the output of commands, for their pages: `python -m docs.generate.outputs [COMMAND ...]`.

Every command runs in a temporary folder with small data. The files in docs/generate/outputs are
part of the repository, so a build of the site trains nothing but the notebooks.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import soundfile
from PIL import Image
from sklearn.datasets import load_digits

FOLDER = Path(__file__).parent / "outputs"
TINY = '--encoder resnet18 --encoder.layers "[1, 1, 1, 1]"'
BERT = "--tokenizer wordpiece:1000 --encoder bert-tiny --batch-size 8 --max-length 64 --quiet"
MAX_LINES = 40

# each command, after the commands that prepare its input
SESSIONS = {
    "pretrain": f"selfwise pretrain simclr --data photos/ --out runs/photos --steps 60 {TINY}",
    "plan": f"selfwise plan --data photos/ --minutes 30 {TINY}",
    "resume": "selfwise resume runs/photos",
    "show": "selfwise show runs/photos",
    "probe": "selfwise probe runs/photos --train labelled/train --test labelled/test",
    "embed": "selfwise embed runs/photos --data photos/ --out photos.npz",
    "report": "selfwise report runs/photos",
    "bench": f"selfwise bench simclr --data photos/ --measure 3 {TINY}",
    "export": "selfwise export runs/photos --to safetensors --out photos-weights",
    "tokenizer": "selfwise tokenizer documents/ --kind bpe --vocab-size 500 --out words",
    "perplexity": f"selfwise pretrain bert --data documents/ --out runs/text --steps 40 {BERT}"
    "\nselfwise perplexity runs/text",
    "fill": 'selfwise fill runs/text "this [MASK] is new"',
    "import": "selfwise export runs/text --to hf --out text-hf"
    "\nselfwise import bert text-hf --out runs/imported",
    "generate": "selfwise pretrain gpt --data documents/ --out runs/gpt --steps 60 --quiet"
    " --tokenizer bpe:500 --encoder gpt-tiny --batch-size 8 --max-length 64"
    '\nselfwise generate runs/gpt --prompt "The" --max-new-tokens 20 --temperature 0.8 --seed 1',
    "iterate": "selfwise iterate hubert --data recordings/ --out runs/speech --steps 20"
    " --encoder hubert-tiny --num-clusters 8 --batch-seconds 16 --max-clip-seconds 4",
    "schema": "selfwise schema probe",
}


def main(words: list[str]) -> None:
    """Run all sessions in their order, and store the requested ones."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        _make_data(Path(home))
        for word, session in SESSIONS.items():
            text = _run(session.splitlines(), Path(home))
            if not words or word in words:
                (FOLDER / f"{word}.txt").write_text(text, encoding="utf-8")


def _run(commands: list[str], home: Path) -> str:
    """Run commands and return the last one with its output."""
    environment = os.environ | {"SELFWISE_CACHE": str(home / ".cache"), "COLUMNS": "100"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(
            command,
            shell=True,
            cwd=home,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
    lines = f"$ {commands[-1]}\n{done.stdout}".replace(f"{home}/", "").splitlines()
    lines = [re.sub(r"\s+$", "", line) for line in lines]
    if len(lines) > MAX_LINES:
        lines = [*lines[:MAX_LINES], "..."]
    return "\n".join(lines) + "\n"


def _make_data(home: Path) -> None:
    """Write digits as photos, topics of Python's help as documents, tones as recordings."""
    pixels, labels = load_digits(return_X_y=True)
    pictures = np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    for i, (picture, label) in enumerate(zip(pictures, labels)):
        part = "train" if i < 1000 else "test"
        for path in (f"labelled/{part}/{label}/{i:04d}.png", f"photos/{i:04d}.png"):
            if path.startswith("labelled") or i < 1000:
                (home / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(home / path)
    (home / "documents").mkdir()
    for name in ("assert", "class", "compound", "typesmapping", "with", "yield"):
        (home / "documents" / f"{name}.txt").write_text(topics[name] * 3)
    (home / "recordings").mkdir()
    random = np.random.default_rng(0)
    for i in range(36):
        hertz = np.linspace(400, 900, int(8_000 * random.uniform(0.8, 1.2))) * random.uniform(
            0.7, 1.3
        )
        wave = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / 8_000)
        wave += 0.02 * random.normal(size=len(wave))
        soundfile.write(home / "recordings" / f"{i:02d}.wav", wave.astype(np.float32), 8_000)


if __name__ == "__main__":
    main(sys.argv[1:])
