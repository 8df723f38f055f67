"""Text: corpora and tokenizers, transformers, and bags of words as the baseline."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Float32
from pydantic import BeforeValidator
from torch import nn

from selfwise.core.config_class import AbsolutePath, Config, drop_none, make_overrides_class
from selfwise.core.data_info import TextInfo
from selfwise.core.device import choose_evaluation
from selfwise.core.option_types import ENCODER_PREFIX, split_numbers
from selfwise.core.progress import print_progress
from selfwise.core.types import TextBatch, TextEncoder
from selfwise.data.text.documents import Documents, open_documents
from selfwise.data.text.labelled import Texts, open_texts
from selfwise.encoders import text as encoders
from selfwise.encoders.custom import build_checked_encoder
from selfwise.encoders.text_presets import TextShape, resolve_text_shape
from selfwise.encoders.word_table import WORD_TABLE, WordTableShape
from selfwise.evaluation.features import image as image_features
from selfwise.evaluation.features import text as reading
from selfwise.evaluation.features.cache import load_or_compute_all
from selfwise.evaluation.features.compute import ComputeOptions
from selfwise.evaluation.features.text_windows import (
    check_window,
    describe_truncation,
    split_into_windows,
)
from selfwise.evaluation.probes.baselines import FeatureSplit
from selfwise.evaluation.scores.names import DEVIATION
from selfwise.methods import Method
from selfwise.methods.default_rules import Conditions
from selfwise.methods.needs import HasVocabulary
from selfwise.modalities.earlier_run import OpenRun
from selfwise.modalities.feature_options import (
    Embed,
    EmbedPlaces,
    FeatureOptions,
    FeaturePlace,
    list_places,
)
from selfwise.modalities.modality import EncoderChoice, Opening, TrainedRun
from selfwise.modalities.reading_options import ReadingOptions
from selfwise.modalities.text.data import (
    FOLDER,
    OpenText,
    TextFacts,
    check_weights,
    find_tokenizer,
    make_inputs,
    warn_of_paths,
)
from selfwise.modalities.text.token_table import WORD2VEC, FirstTokens
from selfwise.modalities.text.word_tables import (
    build_table,
    check_text_pooling,
    extract_marked,
    list_rarity_places,
    mark_rarity,
)
from selfwise.tokenizers.tokenizer import TOKENIZER_KINDS, Tokenizer, open_tokenizer
from selfwise.tokenizers.train import MIN_WORD_COUNT

WINDOW = "mean"  # how probes and embeddings read longer texts
UNTRAINED = (0, 1, 2)  # seeds of the untrained encoders


class TextReading(Config):
    """How to read documents."""

    tokenizer: Annotated[str, AbsolutePath(*TOKENIZER_KINDS)] = ""
    """wordpiece, bpe, unigram, chars or words to train a tokenizer on the corpus, with its size as
    in wordpiece:30000 (by default 8,192, and all characters or words). Or a file or folder:
    tokenizer.json, vocab.txt, vocab.json with merges.txt, a SentencePiece .model, or a run on text.
    By default the tokenizer of `init_tokens`, otherwise the method's kind."""
    init_tokens: Annotated[str, AbsolutePath(WORD2VEC)] = ""
    """Folder of an earlier run on text with the same tokenizer, such as word vectors: its token
    table, centered and scaled, initializes the token table of this run. Or word2vec, which trains
    skip-gram on the same tokens first."""
    init_fraction: Annotated[float, Gt(0), Le(0.5)] = 0.125
    """With --init-tokens word2vec: the fraction of the minutes that skip-gram has, for at most five
    passes over the text. With --steps or --epochs the run keeps its full length, and skip-gram
    makes as many passes over the text as the run, at most one."""
    lowercase: bool = False
    """Train the tokenizer on lowercased text."""
    min_count: Annotated[int, Ge(1)] = MIN_WORD_COUNT
    """With the tokenizer words: words that occur less often are unknown."""
    max_length: Annotated[int, Ge(8)] = 128
    """Tokens in a row, including special tokens."""
    text_column: str = ""
    """The column that holds the text, in jsonl, csv, tsv and parquet."""
    documents: str = "auto"
    """Unit of a document in a txt file: file, blank (separated by blank lines) or line; auto means
    file."""
    data_weights: Annotated[
        list[Annotated[float, Gt(0)]] | None, BeforeValidator(split_numbers)
    ] = None
    """The proportions of the tokens of several sources in an epoch, one number for each --data and
    in their order, such as 1,3. By default an epoch has each document once."""
    val_fraction: Annotated[float, Ge(0), Lt(1)] = 0.05
    """Fraction of the documents, or of the only document, held out to measure the loss."""
    batch_tokens: Annotated[int, Ge(0)] = 0
    """Instead of a batch size: tokens in a step, rounded down to whole rows."""


@runtime_checkable
class PoolingEncoder(TextEncoder, Protocol):
    """An encoder that names the pooling of its features."""

    pooling: str


class TextModality:
    """Text."""

    name = "text"
    info = TextInfo
    reading = TextReading
    probe_pooling = ""
    encoder_facts = ("vocab", "seed")
    encoder_help = """
  --encoder FAMILY-SIZE bert, roberta, albert, gpt or gpt1; tiny, mini, small, medium, base, large
  --encoder word2vec    a table of word vectors, for the method word2vec
  --encoder.NAME VALUE  any setting: depth, dim, heads, ff, length, dropout, pooling, ...
"""

    def find_encoder_options(self, name: str) -> type[Config]:
        shape = WordTableShape if name == WORD_TABLE else TextShape
        return make_overrides_class(shape, prefix=ENCODER_PREFIX)

    def read_data(self, data: object, options: TextReading, method: type[Method]) -> Documents:
        warn_of_paths(data)
        documents = open_documents(data, field=options.text_column, documents=options.documents)
        check_weights(documents, options.data_weights)
        return documents

    def survey(self, documents: Documents, options: TextReading) -> Conditions:
        return Conditions(characters=documents.bytes)

    def open_data(self, documents: Documents, options: TextReading, opening: Opening) -> OpenText:
        if options.batch_tokens and options.batch_tokens < options.max_length:
            raise ValueError(
                f"--batch-tokens {options.batch_tokens} is less than a row of {options.max_length} "
                "tokens"
            )
        source = _find_tokens(options.init_tokens, opening.folder)
        earlier = "" if options.init_tokens == WORD2VEC else options.init_tokens
        name = options.tokenizer or earlier or opening.method.default_tokenizer
        if opening.folder is not None:
            tokenizer = Tokenizer.load(opening.folder / FOLDER)
        else:
            tokenizer = open_tokenizer(
                find_tokenizer(name),
                lambda: documents,
                lower=options.lowercase,
                min_count=options.min_count,
                progress=partial(print_progress, prefix="tokenizer: "),
            )
        return OpenText(
            documents,
            tokenizer,
            TextInfo(vocab=tokenizer.vocabulary.size, length=options.max_length),
            held_out_share=options.val_fraction,
            batch_tokens=options.batch_tokens,
            method=opening.method,
            tokenizer_name=name,
            weights=options.data_weights if documents.sources else None,
            first_tokens=None if source is None else FirstTokens(source, opening.open_run),
        )

    def load_facts(self, folder: Path, info: TextInfo) -> TextFacts:
        return TextFacts(info, Tokenizer.load(folder / FOLDER), folder)

    def load_inputs(
        self,
        method: type[Method],
        folder: Path,
        facts: TextFacts,
        about: Mapping[str, Mapping[str, Any]],
        open_run: OpenRun,
    ) -> dict[str, object]:
        return make_inputs(method, facts)

    def options_from_start(self, start: Path) -> dict[str, object]:
        """Return the tokenizer, which belongs to the weights."""
        return {"tokenizer": str(start / FOLDER)}

    def build_encoder(self, choice: EncoderChoice, facts: HasVocabulary, seed: int) -> nn.Module:
        vocab, length = facts.info.vocab, facts.info.length
        if choice.factory is not None:
            return build_checked_encoder(
                choice.factory, choice.options, TextEncoder, kind="text", vocab=vocab, seed=seed
            )
        options = drop_none(choice.options)
        if choice.name == WORD_TABLE:
            return build_table(facts, seed, options)
        if "length" not in options and resolve_text_shape(choice.name, options).length < length:
            options["length"] = length
        encoder = encoders.build_text_encoder(choice.name, vocab=vocab, seed=seed, **options)
        if encoder.length < length:
            raise ValueError(
                f"--max-length {length} is more than the {encoder.length} positions of the "
                f"encoder: give --encoder.length {length}, or a smaller --max-length"
            )
        return encoder

    def without_pretrained_weights(self, choice: EncoderChoice) -> EncoderChoice:
        """Return the choice unchanged: published weights enter as a run, by `selfwise import`."""
        return choice

    def build_untrained(self, choice: EncoderChoice, facts: HasVocabulary, seed: int) -> nn.Module:
        return self.build_encoder(choice, facts, seed)

    def find_depth(self, choice: EncoderChoice) -> int | None:
        return None

    def open_examples(self, run: TrainedRun, data: object, options: ReadingOptions) -> Texts:
        options.check_columns("text", ("text_column", "label_column"))
        if options.skip_broken:
            raise ValueError("--skip-broken is for images; an unreadable text file is an error")
        return open_texts(
            data, labelled=options.labelled, field=options.text_column, label=options.label_column
        )

    def make_embed(self, run: TrainedRun, options: FeatureOptions) -> Embed:
        place = FeaturePlace(options.layer, options.pooling)
        embed_places = self.make_embed_places(run, options, [place])
        return lambda encoder, texts: embed_places(encoder, texts)[0]

    def list_feature_places(self, run: TrainedRun, pooling: str) -> list[FeaturePlace]:
        check_text_pooling(pooling)
        if pooling == reading.LAYERS:
            raise ValueError(
                f"pooling {pooling!r} uses every layer, so --layer auto has nothing to choose: "
                "leave out one of the two"
            )
        encoder = run.encoder
        with image_features.evaluation_mode(encoder, "cpu"):
            ids = torch.zeros(1, 4, dtype=torch.int64)
            depth = len(encoder.hidden(TextBatch(ids, torch.zeros(1, dtype=torch.int64))))
        if pooling:
            return list_places(depth, [pooling])
        own = getattr(encoder, "pooling", "mean")
        poolings = list(dict.fromkeys([own, "mean", DEVIATION]))
        more = list_rarity_places(run)
        if isinstance(encoder, reading.EmbeddingEncoder):
            more.append(FeaturePlace(None, reading.LAYERS))
        return list_places(depth, poolings, more)

    def make_embed_places(
        self, run: TrainedRun, options: FeatureOptions, places: Sequence[FeaturePlace]
    ) -> EmbedPlaces:
        """Read longer texts in windows, since positions beyond `length` were never trained."""
        device, precision = choose_evaluation(
            run.record.training, options.device, options.precision
        )
        facts = _text_facts(run)
        tokenizer, length = facts.tokenizer, facts.info.length
        for place in places:
            check_text_pooling(place.pooling)
        by_rarity = mark_rarity(run, places)
        check_window(options.window)
        window, env = options.window or WINDOW, options.env

        def compute(encoder: PoolingEncoder, texts: Texts) -> list[Float32[np.ndarray, "n _"]]:
            pairs = [(place.layer, place.pooling or encoder.pooling) for place in places]
            weights = image_features.digest_weights(encoder)
            start = (weights, texts.fingerprint, tokenizer.fingerprint, length)
            extract = partial(
                reading.extract_poolings,
                texts=texts,
                tokenizer=tokenizer,
                length=length,
                window=window,
                compute=ComputeOptions(device, precision, env),
            )
            return load_or_compute_all(
                run.folder / "features",
                [(*start, layer, pooling, window, precision) for layer, pooling in pairs],
                lambda missing: extract_marked(
                    extract, encoder, facts, [(pairs[i], by_rarity[i]) for i in missing]
                ),
                env=env,
            )

        return compute

    def make_layered_embed(self, run: TrainedRun, options: FeatureOptions) -> None:
        return None

    def untrained_encoders(
        self, run: TrainedRun, train: Texts, *, device: str
    ) -> Iterator[nn.Module]:
        """Yield three untrained encoders."""
        yield from (run.build_untrained(seed) for seed in UNTRAINED)

    def list_raw_choices(self, raw: FeatureSplit) -> dict[str, FeatureSplit]:
        return {"bag of words": raw}

    def raw_features(self, run: TrainedRun, train: Texts, test: Texts) -> FeatureSplit:
        """Return bags of words."""
        return reading.fit_bag_of_words(train, test)

    def describe_unread(self, run: TrainedRun, texts: Texts, window: str) -> list[str]:
        """Return a sentence on the parts of the texts outside all windows."""
        facts = _text_facts(run)
        length = facts.info.length
        check_window(window)
        windows = split_into_windows(texts, facts.tokenizer, length=length, window=window or WINDOW)
        return describe_truncation(windows, length)


def _find_tokens(init_tokens: str, folder: Path | None) -> Path | None:
    """Return the run with the first token table; None if there is none yet.

    Args:
        init_tokens: the option: a run, word2vec or "".
        folder: the run folder; None for a new run, which trains its vectors later.
    """
    if init_tokens != WORD2VEC:
        return Path(init_tokens) if init_tokens else None
    return None if folder is None else folder / WORD2VEC


def _text_facts(run: TrainedRun) -> TextFacts:
    """Return the facts about documents in the run's folder."""
    assert isinstance(run.facts, TextFacts), "a run on text"
    return run.facts


MODALITY = TextModality()
