"""Loading code and inputs of exports of runs on text and speech, for their model cards.

The blocks of Python run unchanged inside the folder of the export.
"""

from dataclasses import asdict

from selfwise.core.types import RATE, WINDOW
from selfwise.encoders.word_table import WordTable
from selfwise.interop.word2vec import BINARY, TEXT
from selfwise.runs.open import Run
from selfwise.workflows.import_export.loading_images import LOAD, format_block, format_call
from selfwise.workflows.import_export.model_card import Usage

_FILE = 'soundfile.read(FILE, dtype="float32")[0][None]'


def describe_text_usage(run: Run, form: str) -> Usage:
    """Describe how to load an export of a run on text."""
    is_table = isinstance(run.encoder, WordTable)
    length = "any number of" if is_table else f"at most {run.encoder.length}"
    inputs = [
        f"rows of {length} tokens, special ones included; tokenizer.json is the tokenizer",
        "padding at the end, which the mask excludes and which changes nothing",
    ]
    if form == "word2vec":
        inputs = [
            "words as the tokenizer of the run writes them; words of --tokenizer words are in "
            "lower case",
            "the most frequent word of the training text comes first; special tokens are left out",
        ]
    blocks = {
        "hf": _text_hf,
        "onnx": _text_onnx,
        "safetensors": lambda: _table_weights(run) if is_table else _text_weights(run),
        "word2vec": _word_vectors,
    }
    return Usage([blocks[form]()], inputs)


def describe_audio_usage(run: Run, form: str) -> Usage:
    """Describe how to load an export of a run on speech."""
    inputs = [
        f"waves of one channel at {RATE:,} Hz, about -1 to 1: float32 (batch, samples), at least "
        f"{WINDOW} samples, clips of equal length in a batch",
        "features of 50 frames a second, `tokens`, and their mean, `pooled`",
    ]
    blocks = {"hf": _audio_hf, "onnx": _audio_onnx, "safetensors": lambda: _audio_weights(run)}
    return Usage([blocks[form]()], inputs)


def _text_hf() -> str:
    return format_block(
        "import torch",
        "from transformers import AutoModel, AutoTokenizer",
        "",
        'tokenizer, model = AutoTokenizer.from_pretrained("."), AutoModel.from_pretrained(".")',
        "with torch.no_grad():",
        '    output = model.eval()(**tokenizer("a text", return_tensors="pt"))',
        "features = output.last_hidden_state  # of each token",
    )


# ids as `selfwise embed` builds them: preprocessing.json has the tokens around a text
_IDS = (
    'preprocessing = json.loads(Path("preprocessing.json").read_text())',
    'words = Tokenizer.from_file("tokenizer.json")',
    "words.encode_special_tokens = True  # [SEP] in a text is text",
    'ids = words.encode("a text", add_special_tokens=False).ids',
    'ids = ids[: preprocessing["most"]]',
    'ids = [*preprocessing["before"], *ids, *preprocessing["after"]]',
)


def _text_onnx() -> str:
    return format_block(
        "import json",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "import onnxruntime",
        "from tokenizers import Tokenizer",
        "",
        *_IDS,
        'session = onnxruntime.InferenceSession("model.onnx")',
        'inputs = {"ids": np.array([ids]), "valid": np.ones((1, len(ids)), dtype=bool)}',
        '(features,) = session.run(["pooled"], inputs)',
    )


def _word_vectors() -> str:
    return format_block(
        "from gensim.models import KeyedVectors",
        "",
        f'vectors = KeyedVectors.load_word2vec_format("{BINARY}", binary=True)',
        f'# equal numbers as text: load_word2vec_format("{TEXT}")',
        "similar = vectors.most_similar(vectors.index_to_key[0])",
    )


def _table_weights(run: Run) -> str:
    special = tuple(run.encoder.special.nonzero()[:, 0].tolist())
    shape = {"vocab": run.encoder.vocab, "special": special, "dim": run.encoder.dim}
    return _format_weights("word_table", *format_call("encoder = word_table.WordTable", "", shape))


def _text_weights(run: Run) -> str:
    shape = {"vocab": run.encoder.vocab, **asdict(run.encoder.shape)}
    call = format_call("encoder = text.build_text_encoder", repr(run.encoder.name), shape)
    return _format_weights("text", *call)


def _format_weights(module: str, *call: str) -> str:
    return format_block(
        "import json",
        "from pathlib import Path",
        "",
        "import torch",
        LOAD,
        "from tokenizers import Tokenizer",
        "",
        f"from selfwise.encoders import {module}",
        "from selfwise.core.types import TextBatch",
        "",
        *call,
        'encoder.load_state_dict(load_file("model.safetensors"))',
        *_IDS,
        "batch = TextBatch(torch.tensor([ids]), torch.zeros(1, dtype=torch.int64))",
        "with torch.no_grad():",
        "    features = encoder.eval()(batch).pooled",
    )


def _audio_hf() -> str:
    return format_block(
        "import torch",
        "from transformers import AutoFeatureExtractor, AutoModel",
        "",
        'extract = AutoFeatureExtractor.from_pretrained(".")',
        'model = AutoModel.from_pretrained(".").eval()',
        f"wave = torch.randn({RATE}).numpy()  # or {_FILE}[0]",
        f'inputs = extract(wave, sampling_rate={RATE}, return_tensors="pt")',
        "with torch.no_grad():",
        "    features = model(**inputs).last_hidden_state.mean(dim=1)",
    )


def _audio_onnx() -> str:
    return format_block(
        "import numpy as np",
        "import onnxruntime",
        "",
        'session = onnxruntime.InferenceSession("model.onnx")',
        f"x = np.random.randn(2, {RATE}).astype(np.float32)  # or {_FILE}",
        '(features,) = session.run(["pooled"], {"x": x})',
    )


def _audio_weights(run: Run) -> str:
    return format_block(
        "import torch",
        LOAD,
        "",
        "from selfwise.encoders import speech",
        "from selfwise.core.types import AudioBatch",
        "",
        *format_call(
            "encoder = speech.build_speech_encoder",
            repr(run.encoder.name),
            asdict(run.encoder.shape),
        ),
        'encoder.load_state_dict(load_file("model.safetensors"))',
        f"x = torch.randn(2, {RATE})  # or torch.from_numpy({_FILE})",
        "with torch.no_grad():",
        "    features = encoder.eval()(AudioBatch(x, torch.arange(2))).pooled",
    )
