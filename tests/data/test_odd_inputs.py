"""Files that look right and are not, or the other way round: read whole, or refused by name."""

import inspect
import io
import json
import struct
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece
import soundfile
from PIL import Image

from selfwise.data.audio import decode as audio
from selfwise.data.audio.mp3 import compute_frame_size
from selfwise.data.audio.open import open_recordings
from selfwise.data.image.open import open_images
from selfwise.data.text.corpus import Corpus
from selfwise.data.text.corpus_overlap import measure_overlap
from selfwise.data.text.documents import open_documents
from selfwise.data.text.labelled import open_texts
from selfwise.modalities import find_modality
from selfwise.tokenizers.tokenizer import Tokenizer

RATE = 16_000
TAG = b"ID3\3\0\0\0\0\0\x0a" + bytes(10)  # of an mp3, of 20 bytes
SAMPLES = slice(18, 26)  # of a flac, where the header tells how many there are


def tone(seconds: float) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(int(seconds * RATE))
    return (0.3 * np.sin(np.arange(len(noise)) * 0.17) + 0.1 * noise).astype(np.float32)


def encoded(samples: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, **options)
    return file.getvalue()


def unfinished_wav(samples: np.ndarray, size: int) -> bytes:
    """A wav whose header tells so many bytes of sound."""
    whole = encoded(samples, format="WAV")
    at = whole.index(b"data") + 4
    return whole[:at] + struct.pack("<I", size) + whole[at + 4 :]


def flac(seconds: float, samples: int) -> bytes:
    """A flac whose header tells so many samples."""
    whole = encoded(tone(seconds), format="FLAC")
    told = struct.unpack(">Q", whole[SAMPLES])[0] >> 36 << 36 | samples
    return whole[: SAMPLES.start] + struct.pack(">Q", told) + whole[SAMPLES.stop :]


def variable_mp3() -> bytes:
    return encoded(tone(6), format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)


def bare_mp3() -> bytes:
    """Without the frame that tells how many there are."""
    whole = variable_mp3()
    return whole[compute_frame_size(struct.unpack(">I", whole[:4])[0]) :]


def open_rf64() -> bytes:
    whole = bytearray(encoded(tone(3), format="RF64"))
    at = whole.find(b"ds64") + 16
    whole[at : at + 8] = b"\xff" * 8
    return bytes(whole)


def open_rifx() -> bytes:
    head = struct.pack(">IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    sound = (tone(3) * 32767).astype(">i2").tobytes()
    return b"RIFX" + bytes(4) + b"WAVEfmt " + head + b"data" + bytes(4) + sound


SILENCE = np.zeros(40_000, np.float32)
SOUNDS = {
    "silence first.wav": (lambda: unfinished_wav(np.concatenate([SILENCE, tone(3)]), 0), 5.5),
    "silence inside.wav": (
        lambda: unfinished_wav(np.concatenate([tone(1), SILENCE, tone(3)]), 2 * RATE),
        6.5,
    ),
    "padded.wav": (lambda: encoded(tone(1), format="WAV") + bytes(2**17), 1.0),
    "mp3.wav": (bare_mp3, 6.0),
    "joined mp3.wav": (lambda: variable_mp3() * 2, 12.0),
    "mp3.ogg": (bare_mp3, 6.0),
    "tag and no length.flac": (lambda: TAG + flac(3, 0), 3.0),
    "tag behind.flac": (lambda: flac(3, RATE) + b"TAG" + bytes(125), 3.0),
    "no size.rf64.wav": (open_rf64, 3.0),
    "big endian.wav": (open_rifx, 3.0),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_all_of_a_sound_is_read(name, tmp_path):
    make, seconds = SOUNDS[name]
    (tmp_path / name).write_bytes(make())
    shape, _ = audio.scan_file(tmp_path / name)
    assert seconds <= shape.frames / shape.rate <= 1.02 * seconds


def test_flacs_that_are_joined_behind_a_tag_are_refused(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(TAG + 2 * encoded(tone(3), format="FLAC"))
    with pytest.raises(audio.UnreadableFile, match="several recordings"):
        audio.scan_file(path)


def images(path):
    return open_images(path, cache="no", workers=0).ids


def texts(path):
    return open_texts(path, labelled=True).texts


def documents(path):
    return list(open_documents(path))


def table(form: str, names: list[str], columns: list[list]) -> bytes:
    made, file = pa.Table.from_arrays([pa.array(c) for c in columns], names=names), io.BytesIO()
    if form == "parquet":
        pq.write_table(made, file)
        return file.getvalue()
    new = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
    with new(file, made.schema) as writer:
        writer.write_table(made)
    return file.getvalue()


HEADER = "label,note,path\n"
REFUSED = {
    "path last.csv": (HEADER + 'cat,"5 inch,0.png\ndog,7",1.png\ncat,x,2.png\n', images, "mark"),
    "label inside.csv": (
        'id,text,label,note\n1,"good film,pos,n\n2,bad film,neg,n\n3,fine",pos,n\n4,b,neg,n\n',
        texts,
        "quotation mark",
    ),
    "semicolon.csv": ("text;label\na;b\n", documents, "';'"),
    "semicolon images.csv": ("path;label\n0.png;b\n", images, "line 1: one cell 'path;label'"),
    "no header.csv": ("hello there\nworld\n", documents, "the name of a field"),
    "space.csv": ('path,label\n0.png, "dog"\n', images, "space before its quotation mark"),
    "twice.json": ('[{"text":"a","text":"b"}]', documents, "'text' occurs twice"),
    "label twice.json": ('[{"text":"a","label":1,"label":0}]', texts, "'label' occurs twice"),
    "twice.arrow": (
        table("file", ["text", "text"], [["a"], ["b"]]), documents, "two columns 'text'",
    ),
    "cut.arrow": (table("stream", ["text"], [["a", "b"]])[:-30], documents, "read as Arrow"),
    "bytes.parquet": (
        table("parquet", ["text", "label"], [["a", "b"], [b"\xff", b"b"]]), texts, "not UTF-8",
    ),
    "a.parquet.gz": (b"\x1f\x8b", documents, "unpack it first"),
    "utf32.txt": ("hello".encode("utf-32"), documents, "UTF-32"),
    "utf16 json.txt": ('{"text":"hi"}\n'.encode("utf-16"), documents, "this is JSON"),
    "utf16 html.txt": ("<html><body>hi".encode("utf-16"), documents, "this is HTML"),
    "strings.txt": ('["a","b"]', documents, "this is JSON"),
    "object.txt": ('{\n  "text": "a"\n}\n', documents, "this is JSON"),
    "long object.txt": ('{\n "text": "' + 5_000 * "a" + '"}', documents, "this is JSON"),
    "comment.txt": ("<!-- saved from -->\n<html><body>x", documents, "this is HTML"),
    "dump.txt": ('<mediawiki xmlns="x">\n<page/></mediawiki>', documents, "this is XML"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_read_wrongly_is_refused_with_its_file(name, tmp_path):
    content, read, words = REFUSED[name]
    for i in range(4):
        Image.fromarray(np.full((20, 20, 3), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words.replace(" cell ", " cell, ")) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("other", ["{folder}/0.png", "../{name}/0.png", "./0.png"])
def test_one_file_by_two_paths_has_one_label(other, tmp_path):
    for i in range(2):
        Image.fromarray(np.full((20, 20, 3), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
    again = other.format(folder=tmp_path, name=tmp_path.name)
    (tmp_path / "t.csv").write_text(f"path,label\n0.png,a\n{again},b\n1.png,c\n")
    with pytest.raises(ValueError, match=r"line 3.*has the label 'b', and 'a' on line 2"):
        images(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "text",
    [
        '["Well," he said,] and went.',
        "{ a set } of things",
        '[{"not json',
        "<!-- a note --> a text",
    ],
)
def test_prose_that_begins_like_a_form_is_prose(text, tmp_path):
    (tmp_path / "a.txt").write_text(text)
    assert documents(tmp_path / "a.txt") == [text]


def test_texts_in_all_plain_files_of_a_folder_are_read_and_others_counted(tmp_path, capsys):
    for name in ("a/1.txt", "a/2.md", "b/3.text", "b/4.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert len(texts(tmp_path)) == 3
    assert "1 file is skipped: not text" in capsys.readouterr().err


def test_labels_are_found_whatever_their_case(tmp_path):
    (tmp_path / "t.csv").write_text("Text,Label\na,x\nb,y\n")
    assert open_texts(tmp_path / "t.csv").classes == ["x", "y"]


def test_silent_and_broken_examples_are_named_to_the_reader_of_features(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE, np.float32), RATE)
    soundfile.write(tmp_path / "tone.wav", tone(1), RATE)
    sounds = open_recordings(str(tmp_path), cache="no", workers=0)
    audio_modality = find_modality("audio")
    # without the type checker: it needs no run
    unread = partial(inspect.unwrap(type(audio_modality).describe_unread), audio_modality, None)
    (sentence,) = unread(sounds, "")
    assert "1 recording is left out, such as silent.wav" in sentence
    assert unread(replace(sounds, broken=[]), "") == []


@pytest.fixture
def albert(tmp_path):
    """A folder of ALBERT's files with two tokens that are found as they are written."""
    control = {"control_symbols": ["[CLS]", "[SEP]", "[MASK]"], "pad_id": 0, "unk_id": 1}
    sentences = iter(["say what and where is here new"] * 50)
    told = {"sentence_iterator": sentences, "model_prefix": str(tmp_path / "spiece")}
    told |= {"vocab_size": 40, "hard_vocab_limit": False, "minloglevel": 2, **control}
    sentencepiece.SentencePieceTrainer.train(**told, bos_id=-1, eos_id=-1)
    size = sentencepiece.SentencePieceProcessor(model_file=f"{told['model_prefix']}.model")

    def folder(**added: bool):
        first = size.vocab_size()
        tokens = {
            str(first + i): {"content": name, "special": False, "normalized": normalized}
            for i, (name, normalized) in enumerate(added.items())
        }
        config = {"tokenizer_class": "AlbertTokenizer", "added_tokens_decoder": tokens}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return tmp_path

    return folder


def test_added_tokens_are_found_as_written_and_not_as_normalised(albert):
    transformers = pytest.importorskip("transformers")
    folder = albert(**{"<PERSON>": False, "<new>": False})
    ours, theirs = Tokenizer.load(folder), transformers.AlbertTokenizer.from_pretrained(folder)
    for text in ("say <PERSON> here", "say <NEW> here", "<new><new> say<PERSON>", "say"):
        expected = theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.encode([text])[0].tolist() == expected, text
    both = ours.encode(["say <NEW> here", "say <PERSON>"])
    assert [len(ids) for ids in both] == [
        len(ours.encode([t])[0]) for t in ("say <NEW> here", "say <PERSON>")
    ]


def test_an_added_token_that_normalisation_changes_is_refused(albert):
    with pytest.raises(ValueError, match="the added token '<NEW>' is changed"):
        Tokenizer.load(albert(**{"<NEW>": True}))


def corpus(tokens, *spans: tuple[int, int]) -> Corpus:
    documents = np.array(spans, np.int64)
    sizes = 5 * (documents[:, 1:] - documents[:, :1]).repeat(2, axis=1)  # characters and bytes
    return Corpus(np.asarray(tokens, np.uint16), documents, None, sizes, "")


def test_only_documents_that_were_trained_on_count():
    random = np.random.default_rng(0)
    known = random.integers(0, 500, 4_000)
    half = corpus(known, (0, 2_000))
    assert measure_overlap(corpus(known, (0, 4_000)), corpus(known, (0, 4_000))) == 1
    assert measure_overlap(corpus(known, (0, 4_000)), half) == pytest.approx(0.5, abs=0.02)
    assert measure_overlap(corpus(known[500:900], (0, 400)), half) == 1
    assert measure_overlap(corpus(known[2_000:], (0, 2_000)), half) == 0
    assert measure_overlap(corpus(known[:2_000], (0, 2_000)), corpus(known, (2_000, 4_000))) == 0
    changed = np.where(np.arange(4_000) % 16, known, 501)  # runs of 6 tokens are known
    assert measure_overlap(corpus(changed, (0, 4_000)), half) == 0
    assert measure_overlap(corpus(known[:5], (0, 5)), half) == 0  # too short to say anything
