"""Sentences: found in any script, and no character lost."""

import random

from selfwise.data.text import sentences
from selfwise.data.text.sentences import split_sentences

# ruff: noqa: RUF001


def test_sentences_of_several_scripts():
    text = (
        "Dr. Smith came. He left!  Who?\n\nПривет, мир. Как дела?\n今日は天気がいい。明日も？はい！"
    )
    assert split_sentences(text) == [
        "Dr. Smith came.", " He left!", "  Who?", "\n\nПривет, мир.", " Как дела?",
        "\n今日は天気がいい。", "明日も？", "はい！",
    ]  # fmt: skip


def test_white_space_goes_to_the_sentence_after_it_and_stays_at_the_end():
    assert split_sentences(" One here.  Two here. \n") == [" One here.", "  Two here. \n"]
    assert split_sentences("") == []
    assert split_sentences(" \n") == [" \n"]
    assert split_sentences("word") == ["word"]


def test_no_character_is_lost_or_changed():
    draw = random.Random(0)
    pool = "aB .!?。！？\n\t\r\"'()[]…:;1२Жжé😀\u0301\u200d\xa0\u2003\u3000\x0c\x1c\x85،؟।A.b"
    for _ in range(3000):
        text = "".join(draw.choice(pool) for _ in range(draw.randint(0, 60)))
        found = split_sentences(text)
        assert "".join(found) == text
        assert all(found)
    # longer than a block of sentencex, at whose end it leaves out the blank lines
    text = ("Some words are here and there, and some are not. " * 30 + "\n\n") * 20
    assert "".join(split_sentences(text)) == text


def test_a_long_paragraph_takes_no_longer_for_its_length(monkeypatch):
    sizes = []
    whole = sentences.sentencex.segment

    def segment(language, text):
        sizes.append(len(text))
        return whole(language, text)

    monkeypatch.setattr(sentences.sentencex, "segment", segment)
    text = "今日は。" * 20_000  # seven minutes if it is seen at once
    assert split_sentences(text) == ["今日は。"] * 20_000
    assert max(sizes) <= sentences.WINDOW
    text = "word " * 5000 + "end. Then more."
    assert split_sentences(text) == ["word " * 5000 + "end.", " Then more."]


def test_a_sentence_at_the_window_s_end_is_whole(monkeypatch):
    text = "".join(f"This is sentence number {i} of many others. " for i in range(200))
    wanted = split_sentences(text)
    for window in (64, 100, 333):
        monkeypatch.setattr(sentences, "WINDOW", window)
        assert split_sentences(text) == wanted
    assert len(wanted) == 200
