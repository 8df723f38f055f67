"""Exchange of runs on text with Hugging Face's BERT, RoBERTa, ALBERT and GPT-2, and gensim."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfwise.core.data_info import TextInfo
from selfwise.encoders.word_table import WordTable
from selfwise.interop.huggingface.folder import (
    PREPROCESSING,
    WEIGHTS,
    read_folder,
    write_folder,
    write_json,
    write_weights,
)
from selfwise.interop.huggingface.text import from_hf
from selfwise.interop.huggingface.text import to_hf as weights_to_hf
from selfwise.interop.word2vec import write_word2vec
from selfwise.runs.open import Run
from selfwise.tokenizers.tokenizer import Tokenizer
from selfwise.workflows.import_export.imported_checkpoint import ImportedCheckpoint, ImportOptions
from selfwise.workflows.import_export.model_card import Usage

FAMILIES = ("bert", "roberta", "albert", "gpt")
DEFAULT_ROW_LENGTH = (
    512  # tokens in a row of an imported run, unless its encoder has fewer positions
)


def read_checkpoint(family: str, folder: Path, options: ImportOptions) -> ImportedCheckpoint:
    """Read a checkpoint with its tokenizer. Raises ValueError with one sentence if it has none."""
    imported = from_hf(*read_folder(folder))
    if imported.family != family:
        raise ValueError(f"{folder} holds a model of the family {imported.family}, not {family}")
    words = Tokenizer.load(options.tokenizer or folder)
    if words.vocabulary.size > imported.vocab:
        raise ValueError(
            f"the tokenizer has {words.vocabulary.size} tokens, but the model in {folder} has only "
            f"{imported.vocab}: they do not belong together"
        )
    length = min(DEFAULT_ROW_LENGTH, imported.options["length"])
    return ImportedCheckpoint(
        encoder=family,
        encoder_options=imported.options,
        weights=imported.encoder,
        head=imported.head,
        missing=imported.missing,
        notes=imported.notes,
        info=TextInfo(vocab=imported.vocab, length=length),
        reading={"max_length": length},
        tokenizer=words,
    )


def to_hf(run: Run, out: Path) -> None:
    """Write a folder that AutoModel and AutoTokenizer load.

    Raises ValueError for a table of word vectors, which transformers has no class for.
    """
    encoder, words = run.encoder, run.tokenizer
    if isinstance(encoder, WordTable):
        raise ValueError(
            f"{run.folder} is a table of word vectors, which transformers has no class for; --to "
            "word2vec writes files for gensim, and --to safetensors and onnx write the encoder"
        )
    family = encoder.name.partition("-")[0]
    heads = {n: w for n, w in run.method.state_dict().items() if not n.startswith("encoder.")}
    weights = dict(encoder.state_dict())
    shape = asdict(encoder.shape)
    config, weights = weights_to_hf(family, shape, weights, heads, words.vocabulary)
    write_folder(
        out,
        config,
        weights,
        tokenizer=words.library.to_str(),
        vocabulary=words.vocabulary,
        length=encoder.length,
    )


def to_word2vec(run: Run, out: Path) -> None:
    """Write the vectors of all words, the most frequent first, in word2vec's two formats.

    Raises ValueError for an encoder that is not a table of word vectors, and for a token that the
    formats cannot hold.
    """
    encoder, tokenizer = run.encoder, run.tokenizer
    if not isinstance(encoder, WordTable):
        raise ValueError(
            f"--to word2vec is for tables of word vectors, and {run.folder} has the encoder "
            f"{run.record.encoder_name}, whose vectors depend on the words around them; "
            "--to safetensors writes any encoder"
        )
    order = run.facts.token_counts.argsort(descending=True, stable=True)
    ids = order[~encoder.special[order]]
    vectors = encoder.without_ngrams().token.weight.detach()[ids].float().numpy()
    write_word2vec(out, [tokenizer.piece(i) for i in ids.tolist()], vectors)


def to_safetensors(run: Run, out: Path) -> None:
    """Write the encoder's weights, with its tokenizer next to them."""
    write_weights(out / WEIGHTS, _plain_encoder(run).state_dict())
    _write_preprocessing(run, out)


def to_onnx(run: Run, out: Path) -> None:
    """Write the encoder, with its tokenizer next to it."""
    from selfwise.interop.onnx import export_text

    export_text(_plain_encoder(run), out / "model.onnx")
    _write_preprocessing(run, out)


def describe_usage(run: Run, form: str) -> Usage:
    """Describe how to use the export."""
    from selfwise.workflows.import_export.loading import describe_text_usage

    return describe_text_usage(run, form)


def _plain_encoder(run: Run) -> Any:
    """Return the encoder; of sub-words only the vectors of words, since texts are words then."""
    return run.encoder.without_ngrams() if isinstance(run.encoder, WordTable) else run.encoder


def _write_preprocessing(run: Run, out: Path) -> None:
    """Write the tokenizer, and which tokens `selfwise embed` puts around a text."""
    run.tokenizer.save(out)
    vocabulary, length = run.tokenizer.vocabulary, run.record.info.length
    # GPT-2 has one token for both ends, and a text begins without it
    both = vocabulary.first is not None and vocabulary.first != vocabulary.last
    before = [vocabulary.first] if both else []
    after = [] if vocabulary.last is None else [vocabulary.last]
    preprocessing = {
        "tokenizer": "tokenizer.json",
        "before": before,
        "after": after,
        "most": length - len(before) - len(after),
        "pad": vocabulary.pad,
        "layout": "ids int64 and valid bool, batch x tokens; padding at the end is not valid",
    }
    write_json(out / PREPROCESSING, preprocessing)
