"""Damaged files of models: tokenizers, weights, settings, run folders, GLUE."""

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save, save_file
from torch import nn

import selfwise
from selfwise.cli.parse import parse_method_line
from selfwise.commands import import_command
from selfwise.glue.read import open_glue
from selfwise.glue.tasks import TASKS
from selfwise.interop.huggingface import beit, hubert, text
from selfwise.interop.huggingface.folder import (
    PICKLED,
    read_folder,
    read_optional_json,
    read_weights,
)
from selfwise.runs.create import request_run
from selfwise.runs.run_yaml import read_record
from selfwise.targets.tensor_file import load_tensors, save_tensors
from selfwise.tokenizers.load import FILE_NAMES, MERGE_FILES
from selfwise.tokenizers.tokenizer import Tokenizer, train_tokenizer
from selfwise.training import checkpoint
from tests.fuzz.targets import Target
from tests.helpers.glue_cases import write_glue
from tests.helpers.run_file_cases import run_content

WORDS = ["the dog ran far away", "a cat sat on the old mat", "12 birds, one tree!"] * 4
KINDS = ("wordpiece", "bpe", "unigram", "words", "chars")


@cache
def train(kind: str) -> str:
    """The text of a small tokenizer.json."""
    sizes = {"wordpiece": 80, "bpe": 280, "unigram": 70}
    return train_tokenizer(kind, WORDS, vocab_size=sizes.get(kind)).library.to_str()


def write_tokenizer(kind: str, path: Path) -> None:
    path.write_text(train(kind), encoding="utf-8")


def read_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer.load(path)
    ids = tokenizer.encode(["The dog [MASK] ran.", "x" * 50, ""])
    tokenizer.decode(ids[0])


def read_folder_tokenizer(path: Path) -> None:
    read_tokenizer(path.parent)


def write_vocabulary(path: Path) -> None:
    vocab = json.loads(train("wordpiece"))["model"]["vocab"]
    path.write_text("\n".join(sorted(vocab, key=vocab.__getitem__)), encoding="utf-8")


def write_merges(file: str, path: Path) -> None:
    """Both files, of which one is damaged."""
    vocab_name, merges_name = next(pair for pair in MERGE_FILES.items() if file in pair)
    model = json.loads(train("bpe"))["model"]
    (path.parent / vocab_name).write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = [" ".join(pair) for pair in model["merges"]]
    (path.parent / merges_name).write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")


def write_settings(path: Path) -> None:
    write_vocabulary(path.with_name("vocab.txt"))
    token = {"content": "[X]", "special": True, "normalized": False}
    size = len(json.loads(train("wordpiece"))["model"]["vocab"])
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "unk_token": "[UNK]"}
    settings |= {"added_tokens_decoder": {str(size): token}, "model_max_length": 512}
    path.write_text(json.dumps(settings))


@cache
def train_sentencepiece() -> bytes:
    import io

    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS), model_writer=model, vocab_size=30, minloglevel=2
    )
    return model.getvalue()


def write_sentencepiece(path: Path) -> None:
    path.write_bytes(train_sentencepiece())


WEIGHTS = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.ones(5)}


def write_weights(path: Path) -> None:
    if path.suffix == ".safetensors":
        path.write_bytes(save(WEIGHTS))
    else:
        torch.save(WEIGHTS, path)


def write_tensors(path: Path) -> None:
    save_tensors(path, WEIGHTS, {"kind": "x", "n": 3})


def read_tensors(path: Path) -> None:
    load_tensors(path, "codebook")


HF_CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 8, "hidden_act": "gelu", "max_position_embeddings": 16,
             "pad_token_id": 0, "position_embedding_type": "absolute"},
    "roberta": {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "pad_token_id": 1,
                "max_position_embeddings": 16},
    "gpt2": {"vocab_size": 20, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2,
             "n_inner": None, "activation_function": "gelu_new"},
    "beit": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
             "patch_size": [16, 16], "use_relative_position_bias": True},
    "hubert": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
               "intermediate_size": 8, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 4},
}  # fmt: skip
READERS: dict[str, Any] = {"beit": beit.from_hf, "hubert": hubert.from_hf}


def write_hf(family: str, path: Path) -> None:
    path.write_text(json.dumps({"model_type": family, **HF_CONFIGS[family]}))
    save_file(WEIGHTS, path.with_name("model.safetensors"))


def read_hf(family: str, path: Path) -> None:
    READERS.get(family, text.from_hf)(*read_folder(path.parent))


def write_preprocessor(path: Path) -> None:
    path.write_text(json.dumps({"do_normalize": True, "sampling_rate": 16000}))


def make_run() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


def write_checkpoint(path: Path) -> None:
    home = path.parent.parent
    checkpoint.save_checkpoint(home, 4, *make_run(), {"offset": 0})


def read_checkpoint(path: Path) -> None:
    """As resuming does, after the manifest was made right again."""
    model, optimizer = make_run()
    folder = path.parent
    if path.name != checkpoint.MANIFEST:
        manifest = json.loads((folder / checkpoint.MANIFEST).read_text())
        manifest["sha256"][path.name] = checkpoint.hash_file_hex(path)
        (folder / checkpoint.MANIFEST).write_text(json.dumps(checkpoint.seal_manifest(manifest)))
    opened = checkpoint.open_checkpoint(folder)
    checkpoint.load_weights(opened, model)
    checkpoint.load_optimizer(opened, optimizer)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()


def write_run(path: Path) -> None:
    (path.parent / "run.yaml").write_text(yaml.safe_dump(run_content()))
    lines = [{"step": i, "loss": 2.5 - i / 10, "lr": 0.1} for i in range(4)]
    (path.parent / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")


def read_run(path: Path) -> None:
    read_record(path.parent)
    selfwise.show([path.parent])


def write_config(path: Path) -> None:
    options = {"method": "simclr", "data": "digits", "steps": 4, "lr": 0.1, "batch_size": 8}
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in options.items())
    content = lines + "\n[encoder]\nname = 'resnet18'\n"
    if path.suffix != ".toml":
        content = yaml.safe_dump({**options, "encoder": {"name": "resnet18"}})
    path.write_text(content)


def read_config(path: Path) -> None:
    """As the command line does, without the training."""
    command = import_command("pretrain")
    arguments = parse_method_line(
        "pretrain", command, command.load_function(), ["--config", str(path), "--out", "run"]
    )
    assert arguments is not None
    method, data = arguments.pop("method"), arguments.pop("data")
    names = ("encoder", "init_from", "seed")
    encoder, start, seed = (arguments.pop(name, "") for name in names)
    options = {n: v for n, v in arguments.items() if n not in ("out", "quiet", "max_memory")}
    request_run(method, data, encoder, start, int(seed or 0), options)


def write_task(path: Path) -> None:
    if path.suffix == ".tsv":
        write_glue(path.parent.parent / "glue", tasks=("sst2",))
        folder = next((path.parent.parent / "glue").iterdir())
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((folder / "train.tsv").read_bytes())


def read_task(path: Path) -> None:
    open_glue(path.parent.parent, next(t for t in TASKS if t.name == "sst2"), "train")


TOKENIZER_TARGETS = [
    *(Target(f"tokenizer.json {kind}", "tokenizer.json", "json", partial(write_tokenizer, kind),
             read_tokenizer) for kind in KINDS),
    Target("vocab.txt", "vocab.txt", "text", write_vocabulary, read_tokenizer),
    *(Target(file, file, "json" if file.endswith(".json") else "text", partial(write_merges, file),
             read_tokenizer, "") for pair in MERGE_FILES.items() for file in pair),
    Target("tokenizer_config.json", "tokenizer_config.json", "json", write_settings,
           read_folder_tokenizer, ""),
    Target("sentencepiece", "spiece.model", "bytes", write_sentencepiece, read_tokenizer),
]  # fmt: skip
MODEL_TARGETS = [
    *TOKENIZER_TARGETS,
    Target("weights .safetensors", "m.safetensors", "safetensors", write_weights, read_weights),
    *(Target(f"weights {end}", f"m{end}", "zip", write_weights, read_weights) for end in PICKLED),
    Target("codebook", "codebook.safetensors", "safetensors", write_tensors, read_tensors),
    *(Target(f"config.json {family}", "config.json", "json", partial(write_hf, family),
             partial(read_hf, family), "", whole=False) for family in HF_CONFIGS),
    Target("preprocessor", "preprocessor_config.json", "json", write_preprocessor,
           read_optional_json),
    *(Target(f"checkpoint {file}", f"checkpoints/step-00000004/{file}", kind, write_checkpoint,
             read_checkpoint, "step-00000004")
      for file, kind in (("manifest.json", "json"), ("model.safetensors", "safetensors"),
                         ("optimizer.pt", "zip"))),
    Target("run.yaml", "run/run.yaml", "yaml", write_run, read_run),
    Target("metrics.jsonl", "run/metrics.jsonl", "jsonl", write_run, read_run),
    Target("config .yaml", "job.yaml", "yaml", write_config, read_config, ""),
    Target("config .toml", "job.toml", "text", write_config, read_config, ""),
    Target("glue .tsv", "data/SST-2/train.tsv", "text", write_task, read_task),
]  # fmt: skip
COVERED_NAMES = {*FILE_NAMES, *MERGE_FILES.values()}
