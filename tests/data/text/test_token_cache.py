"""The token cache: the tokens of the text, whoever made it, however often it was killed."""

import errno
import math
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from selfwise.data.text import encode, plain_files, token_cache
from selfwise.data.text.corpus import Corpus, check_ids, open_corpus
from selfwise.data.text.sentences import split_sentences
from selfwise.tokenizers.tokenizer import Tokenizer, train_tokenizer

SENTENCES = "the cat sat on a mat and saw. Мама мыла раму! A dog, too? Yes. 今日は。"
WORDS = SENTENCES.split()


def text(number: int, words: int = 60) -> str:
    return " ".join(WORDS[(i * i + number * i + i // 7) % len(WORDS)] for i in range(words))


TEXTS = [text(i, 20 + 13 * i) for i in range(12)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer("wordpiece", TEXTS, vocab_size=200)


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i, one in enumerate(TEXTS):
        (folder / f"{i:02d}.txt").write_text(one, encoding="utf-8")
    return folder


def document(corpus: Corpus, i: int) -> list[int]:
    start, stop = corpus.documents[i]
    return corpus.tokens[start:stop].tolist()


def test_tokens_are_those_of_the_texts(root, tokenizer):
    corpus = open_corpus(root, tokenizer)
    assert len(corpus.documents) == len(TEXTS)
    for i, one in enumerate(TEXTS):
        assert document(corpus, i) == tokenizer.encode([one])[0].tolist()
    assert corpus.sentences is None
    assert corpus.tokens.dtype == np.uint16
    assert corpus.documents.dtype == np.int64
    assert corpus.size == len(corpus.tokens) == corpus.documents[-1, 1]
    assert corpus.characters == sum(map(len, TEXTS))
    assert corpus.bytes == sum(len(one.encode()) for one in TEXTS)
    assert corpus.sizes[3].tolist() == [len(TEXTS[3]), len(TEXTS[3].encode())]


def test_sentences_are_those_of_the_documents(root, tokenizer):
    corpus = open_corpus(root, tokenizer, sentences=True)
    wanted = [ids.tolist() for one in TEXTS for ids in tokenizer.encode(split_sentences(one))]
    found = [corpus.tokens[i:j].tolist() for i, j in corpus.sentences]
    assert found == [ids for ids in wanted if ids]
    owner = np.searchsorted(corpus.documents[:, 1], corpus.sentences[:, 0], side="right")
    assert (corpus.sentences[:, 1] <= corpus.documents[owner, 1]).all()
    assert (corpus.sentences[1:, 0] == corpus.sentences[:-1, 1]).all()
    assert corpus.fingerprint != open_corpus(root, tokenizer).fingerprint


def test_documents_without_tokens_are_left_out(tokenizer):
    corpus = open_corpus(["the cat", "  ", "", "a mat"], tokenizer)
    assert [tokenizer.decode(document(corpus, i)) for i in range(2)] == ["the cat", "a mat"]
    assert len(corpus.documents) == 2


def test_a_long_document_stays_one_and_its_sentences_too(root, tokenizer, monkeypatch):
    whole = open_corpus(root, tokenizer, sentences=True)
    monkeypatch.setenv("SELFWISE_CACHE", os.environ["SELFWISE_CACHE"] + "2")
    monkeypatch.setattr(plain_files, "PIECE_CHARACTERS", 200)
    monkeypatch.setattr(plain_files, "BORDER_REACH", 50)
    monkeypatch.setattr(encode, "CHARACTERS_PER_BATCH", 300)
    pieces = open_corpus(root, tokenizer, sentences=True)
    assert np.array_equal(whole.tokens, pieces.tokens)
    assert np.array_equal(whole.documents, pieces.documents)
    assert np.array_equal(whole.sizes, pieces.sizes)
    assert len(pieces.sentences) >= len(whole.sentences)  # a piece may end inside one


def files(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(home.iterdir())}


def made(cache: Path) -> dict[str, bytes]:
    """What the only finished cache in a folder holds."""
    (home,) = [p for p in (cache / "text").iterdir() if p.name[0] != "." and p.name != "known"]
    return files(home)


def test_processes_and_batches_change_nothing(root, tokenizer, tmp_path, monkeypatch):
    open_corpus(root, tokenizer, sentences=True, workers=1)
    monkeypatch.setattr(encode, "MIN_POOL_BYTES", 1)
    monkeypatch.setattr(encode, "CHARACTERS_PER_BATCH", 100)
    monkeypatch.setattr(token_cache, "CHARACTERS_PER_SHARD", 500)
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "other"))
    told = []
    open_corpus(
        root, tokenizer, sentences=True, workers=2, progress=lambda *done: told.append(done)
    )
    one, two = made(tmp_path / "cache"), made(tmp_path / "other")
    assert one == two
    assert one["tokens"]
    done, total = zip(*told)
    assert len(done) > 5
    assert list(done) == sorted(done)
    assert done[-1] == total[-1] == sum(len(t.encode()) for t in TEXTS)


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from selfwise.data.text import encode, token_cache
    from selfwise.data.text.corpus import open_corpus
    from selfwise.tokenizers.tokenizer import Tokenizer

    encode.MIN_POOL_BYTES, encode.CHARACTERS_PER_BATCH = 1, 100
    token_cache.CHARACTERS_PER_SHARD = 500
    calls = []

    def progress(done, total):
        calls.append(done)
        if len(calls) == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

    open_corpus(
        sys.argv[1], Tokenizer.load(sys.argv[2]), sentences=True, workers=2, progress=progress
    )
    print(calls[0], len(calls))
"""


@pytest.mark.run  # a process
def test_a_killed_build_goes_on_and_gives_the_same_bytes(root, tokenizer, tmp_path, monkeypatch):
    tokenizer.save(tmp_path)
    open_corpus(root, tokenizer, sentences=True, workers=1)
    monkeypatch.setenv("SELFWISE_CACHE", str(tmp_path / "killed"))
    say = [sys.executable, "-c", textwrap.dedent(KILLED), str(root), str(tmp_path)]
    for after in (5, 4):  # twice
        run = subprocess.run([*say, str(after)], stdout=subprocess.DEVNULL)
        assert run.returncode == -signal.SIGKILL
    (half,) = (tmp_path / "killed" / "text").glob(".*.half")
    assert (half / "tokens").stat().st_size > 0
    with (half / "tokens").open("ab") as stream:
        stream.write(b"what was written after the last shard")
    run = subprocess.run([*say, "0"], capture_output=True, text=True, check=True)
    first, calls = map(int, run.stdout.split())
    assert first > sum(len(t.encode()) for t in TEXTS[:3]), "it began again from the start"
    assert calls >= 1
    assert made(tmp_path / "killed") == made(tmp_path / "cache")
    assert not list((tmp_path / "killed" / "text").glob(".*.half"))


@pytest.mark.run  # a process
def test_workers_end_when_their_parent_is_killed(tmp_path):
    code = """
        import os, signal
        from selfwise.data.text.encode import EncodePieces, batch_pieces, encode_all
        from selfwise.data.text.documents import CorpusPiece
        from selfwise.tokenizers.tokenizer import train_tokenizer

        job = EncodePieces(train_tokenizer("chars", ["abc"]), "<u2", None)
        pieces = (CorpusPiece("abc" * 10**6, True, i, 0) for i in range(99))
        found = encode_all(job, batch_pieces(pieces, 0), workers=2, size=10**9)
        next(found)
        children = open(f"/proc/self/task/{os.getpid()}/children").read()
        print(children, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    if not Path("/proc/self/task").is_dir():
        pytest.skip("needs /proc")
    say = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(say, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout is not None
        children = [int(i) for i in run.stdout.readline().split()]  # the end is theirs, too
    assert run.returncode == -signal.SIGKILL
    assert len(children) == 2
    for _ in range(100):
        left = [i for i in children if Path(f"/proc/{i}/cmdline").is_file()]
        left = [i for i in left if Path(f"/proc/{i}/cmdline").read_bytes()]
        if not left:
            return
        threading.Event().wait(0.1)
    for i in left:
        os.kill(i, signal.SIGKILL)
    raise AssertionError(f"{left} were still there")


@pytest.mark.run  # a process
def test_two_processes_do_not_write_over_each_other(root, tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    say = [sys.executable, "-c", textwrap.dedent(KILLED), str(root), str(tmp_path), "0"]
    both = [subprocess.Popen(say, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in "ab"]
    told = [one.communicate() for one in both]
    # one of them waits, and finds the cache of the other
    assert sorted(one.returncode for one in both) in ([0, 0], [0, 1]), told
    assert sum(b"IndexError" in err for _, err in told) <= 1  # no progress was made: calls is empty
    found = made(tmp_path / "cache")
    open_corpus(root, tokenizer, sentences=True)
    assert found == made(tmp_path / "cache")


def test_a_change_of_text_or_tokenizer_is_another_cache(root, tokenizer):
    first = open_corpus(root, tokenizer)
    other = train_tokenizer("wordpiece", TEXTS, vocab_size=200, lower=True)
    assert open_corpus(root, other).fingerprint != first.fingerprint
    (root / "00.txt").write_text("the dog", encoding="utf-8")
    second = open_corpus(root, tokenizer)
    assert second.fingerprint != first.fingerprint
    assert tokenizer.decode(document(second, 0)).split() == ["the", "dog"]


def test_large_vocabularies_take_four_bytes(tokenizer, monkeypatch):
    large = Tokenizer(tokenizer.library)
    large.vocabulary = large.vocabulary._replace(size=2**16 + 1)
    corpus = open_corpus(TEXTS, large)
    assert corpus.tokens.dtype == np.uint32
    assert document(corpus, 1) == tokenizer.encode([TEXTS[1]])[0].tolist()


def test_held_out_documents(root, tokenizer):
    corpus = open_corpus(root, tokenizer, sentences=True)
    rest, held = corpus.split(0.2, seed=0)
    assert len(rest.documents) + len(held.documents) == len(TEXTS)
    assert len(held.documents) >= 1
    assert held.size <= 0.2 * corpus.size
    spans = {tuple(span) for part in (rest, held) for span in part.documents}
    assert spans == {tuple(span) for span in corpus.documents}
    for part in (rest, held):
        covered = np.zeros(len(corpus.tokens), bool)
        for start, stop in part.documents:
            covered[start:stop] = True
        inside = [covered[i:j].all() for i, j in part.sentences]
        assert all(inside)
        assert part.size == sum(j - i for i, j in part.sentences)
        rows = [np.flatnonzero(corpus.documents[:, 0] == span[0])[0] for span in part.documents]
        assert part.sizes.tolist() == corpus.sizes[rows].tolist()
    assert len({rest.fingerprint, held.fingerprint, corpus.fingerprint}) == 3
    again = corpus.split(0.2, seed=0)[1]
    assert np.array_equal(again.documents, held.documents)
    others = [corpus.split(0.2, seed=s)[1].documents.tolist() for s in range(1, 5)]
    assert any(one != held.documents.tolist() for one in others)
    smallest = corpus.split(1e-9, seed=0)[1]
    assert len(smallest.documents) == 1
    most = corpus.split(0.999, seed=0)[0]
    assert len(most.documents) >= 1


def test_a_single_document_is_cut_in_two(tokenizer):
    chars = train_tokenizer("chars", TEXTS)
    one = "".join(TEXTS)
    rest, held = open_corpus([one], chars).split(0.1)
    at = int(0.9 * len(one))  # as nanoGPT divides Tiny Shakespeare
    assert rest.documents.tolist() == [[0, at]]
    assert held.documents.tolist() == [[at, len(one)]]
    assert rest.characters + held.characters == len(one)
    rest, held = open_corpus([one], chars, sentences=True).split(0.1)
    cut = int(held.documents[0, 0])
    assert cut in rest.sentences[:, 1]
    assert cut == held.sentences[0, 0]
    assert at - 200 < cut <= at
    assert rest.sentences[-1, 1] == cut
    with pytest.raises(ValueError, match="between 0 and 1"):
        held.split(1.0)


def test_unigram_entropy(root, tokenizer, monkeypatch):
    corpus = open_corpus(root, tokenizer)
    _, held = corpus.split(0.3, seed=3)
    for part in (corpus, held):
        ids = [i for row in range(len(part.documents)) for i in document(part, row)]
        shares = [ids.count(i) / len(ids) for i in set(ids)]
        wanted = -sum(p * math.log(p) for p in shares)
        assert part.unigram_entropy() == pytest.approx(wanted, rel=1e-12)
        monkeypatch.setattr("selfwise.data.text.corpus.TOKENS_AT_ONCE", 7)
        assert part.unigram_entropy() == pytest.approx(wanted, rel=1e-12)
        assert part.counts().sum() == part.size


def test_a_corpus_travels_by_name(root, tokenizer):
    corpus = open_corpus(root, tokenizer, sentences=True)
    for part in (corpus, *corpus.split(0.3)):
        sent = pickle.dumps(part)
        assert len(sent) < 20_000
        again = pickle.loads(sent)
        assert isinstance(again.tokens, np.memmap)
        for name in ("tokens", "documents", "sentences", "sizes"):
            assert np.array_equal(getattr(again, name), getattr(part, name)), name
        assert again.fingerprint == part.fingerprint
    assert str(root) not in str(sent)
    with pytest.raises(ValueError, match="read-only"):
        corpus.tokens[0] = 1


def test_ids_beyond_the_vocabulary_are_refused(root, tokenizer):
    corpus = open_corpus(root, tokenizer)
    with pytest.raises(
        ValueError, match=r"another tokenizer: they contain id \d+, .* this vocabulary has 6"
    ):
        check_ids(corpus, train_tokenizer("chars", ["a"]), "x")
    check_ids(corpus, tokenizer, "x")
    home = Path(corpus.tokens.filename).parent
    ids = np.fromfile(home / "tokens", np.uint16)
    ids[5] = 60_000
    ids.tofile(home / "tokens")
    with pytest.raises(ValueError, match="they contain id 60,000"):
        open_corpus(root, tokenizer)


def test_a_damaged_cache_is_named(root, tokenizer):
    corpus = open_corpus(root, tokenizer)
    home = Path(corpus.tokens.filename).parent
    with (home / "documents").open("ab") as stream:
        stream.truncate(16)
    with pytest.raises(ValueError, match=f"documents is damaged; remove {home}"):
        open_corpus(root, tokenizer)


def test_an_empty_corpus_is_an_error(tmp_path, tokenizer):
    (tmp_path / "x.txt").write_text(" \n \n")
    with pytest.raises(ValueError, match=r"x\.txt: the corpus is empty"):
        open_corpus(tmp_path / "x.txt", tokenizer)


def test_a_full_disk_is_one_sentence(root, tokenizer, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(token_cache, "_append_batch", full)
    with pytest.raises(ValueError, match=r"disk of .* is full .*set SELFWISE_CACHE") as told:
        open_corpus(root, tokenizer)
    assert "\n" not in str(told.value)
    monkeypatch.undo()


def test_bad_text_leaves_nothing_behind(root, tokenizer, tmp_path):
    (root / "05.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match=r"05\.txt: not UTF-8 at byte 3"):
        open_corpus(root, tokenizer)
    assert not list((tmp_path / "cache" / "text").glob(".*.half"))
