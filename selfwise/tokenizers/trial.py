"""A trial of a tokenizer in a process of its own, before this one loads it.

The library of tokenizers is written in Rust. A damaged file can make it panic, stop its process, or
allocate for billions of ids, none of which Python can catch. The process has a limit of memory and
of time.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfwise.core.extras import check_extra
from selfwise.core.files import digest
from selfwise.core.memory_limit import check_size, find_limit, format_size
from selfwise.core.plain_data import require_mapping

SECONDS = 60.0  # for a small file and the start of the process, and one more for MIB_PER_SECOND
MIB_PER_SECOND = 2
PROCESS_BYTES = 2**30  # of address space that the interpreter and the library take anyway
FACTOR = 40  # bytes of a tokenizer in memory for one of its file, at most, as a rule
# ids may have gaps, but the tables of a model have a row for each number
GAP_FACTOR, GAP_ROOM = 8, 2**16
_tried: dict[str, str] = {}  # the fault of each text, by its digest: a text is tried once
_TRIAL = """
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
except (ImportError, ValueError, OSError):
    pass
import os
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
try:
    import tokenizers
except BaseException as error:
    print(" ".join(str(error).split())[:300] or type(error).__name__)
    sys.exit(4)
try:
    library = tokenizers.Tokenizer.from_str(sys.stdin.buffer.read().decode("utf-8"))
    library.no_truncation()
    library.no_padding()
    pieces = library.get_vocab(with_added_tokens=True)
    texts = ["The 2 dogs, running.", " a  b\\n", "\\u00e9\\u4e2d\\U0001f600", "x" * 300, ""]
    encodings = library.encode_batch_fast(texts + list(pieces)[:50], add_special_tokens=False)
    library.decode([i for encoding in encodings for i in encoding.ids][:1000])
    library.to_str()
except BaseException as error:
    print(" ".join(str(error).split())[:300] or type(error).__name__)
    sys.exit(3)
"""


def check_description(content: object, where: object) -> None:
    """Raise ValueError for a tokenizer.json without its main parts, or with ids far too large."""
    parts = require_mapping(content, where)
    model = require_mapping(parts.get("model"), f"{where}: model")
    vocab = model.get("vocab")
    if isinstance(vocab, list):
        _check_pairs(vocab, where)
        count = len(vocab)
    else:
        count = len(vocab) if isinstance(vocab, dict) else 0
        check_ids(require_mapping(vocab, f"{where}: vocab"), where)
    added = parts.get("added_tokens") or []
    if not isinstance(added, list):
        raise ValueError(f"{where}: added_tokens must be a list")
    tokens = [require_mapping(token, f"{where}: a part of added_tokens") for token in added]
    numbers = {f"added token {i}": token.get("id") for i, token in enumerate(tokens)}
    check_ids(numbers, where, others=count)


def check_ids(pieces: Mapping[str, Any], where: object, *, others: int = 0) -> None:
    """Raise ValueError for an id that is not a whole number from 0 on, or far above their number.

    `others`: how many other pieces there are in the vocabulary.
    """
    most = GAP_FACTOR * (len(pieces) + others) + GAP_ROOM
    for piece, number in pieces.items():
        if type(number) is not int or not 0 <= number < most:
            raise ValueError(
                f"{where}: the id of {piece[:40]!r} is {str(number)[:40]}, and "
                f"{len(pieces) + others:,} pieces have whole numbers from 0 to {most - 1:,}"
            )


def _check_pairs(vocab: list[Any], where: object) -> None:
    for i, pair in enumerate(vocab):
        right = isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)
        if not right or type(pair[1]) not in (int, float) or not abs(pair[1]) < float("inf"):
            got = repr(pair)[:80]
            raise ValueError(f"{where}: piece {i} must be a text and a finite number, got {got}")


def try_tokenizer(text: str, where: Path) -> None:
    """Load a tokenizer.json in another process. Raises ValueError if that fails."""
    check_size(where, FACTOR * len(text))
    key = digest(text)
    if key not in _tried:
        _tried[key] = _find_fault(text, where)
    if reason := _tried[key]:
        raise ValueError(f"{where}: cannot be read as a tokenizer ({reason})")


def _find_fault(text: str, where: Path) -> str:
    """Return why the library cannot load a text; "" if it can.

    Raises ValueError if the trial had no result, so that another one may have one.
    """
    check_extra("text")
    limit = PROCESS_BYTES + find_limit().bytes
    seconds = SECONDS + len(text) / MIB_PER_SECOND / 2**20
    try:
        done = subprocess.run(
            # -P: a file in the working folder is never imported in place of a library
            [sys.executable, "-P", "-c", _TRIAL, str(min(limit, 2**62))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            input=text.encode("utf-8", "surrogatepass"),
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(
            f"{where}: its library did not load it within {seconds:.0f} seconds: the file is "
            "damaged, or this machine is too busy"
        ) from error
    if done.returncode == 0:
        return ""
    reason = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode == 4:
        raise ValueError(
            f"{where}: no trial of the tokenizer is possible, since a new process cannot import "
            f"the library tokenizers ({reason})"
        )
    if done.returncode == 3:
        return reason or "it holds no tokenizer"
    return f"its library stops while it loads it, with {format_size(limit)} of memory or less"
