"""How exports of runs on images are loaded and what they are given, as their cards say it.

The blocks of Python run as they stand, inside the folder of the export.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from selfwise.convert.pictures import shorter_side
from selfwise.exchange.card import Use
from selfwise.exchange.to_timm import model_options
from selfwise.run import Run

LOAD = "from safetensors.torch import load_file"


def image(run: Run, form: str) -> Use:
    """Of a run on images."""
    size, channels = run.config["found"]["size"], run.config["found"]["channels"]
    mode, what = ("RGB", "in colour") if channels == 3 else ("L", "gray")
    given = [
        f"images of {size} x {size} px, {what}: float32 (batch, {channels}, {size}, {size})",
        f"of a file: upright, its shorter side resized to {shorter_side(size)} px (bicubic with "
        f"antialiasing), the middle {size} x {size} px",
        _values(run, form),
        "the same tensor gives the same features, up to rounding, and so does a file whose shorter "
        f"side has {shorter_side(size)} px; of other sizes nearly the same as by `selfwise embed`, "
        "which resizes once, after the cut, and does not round to 8 bits in between",
    ]
    blocks = {
        "hf": lambda: [_image_hf()],
        "timm": lambda: [_image_timm(mode), _by_name()],
        "onnx": lambda: [_image_onnx(size, channels)],
        "safetensors": lambda: _image_weights(run, size, channels),
    }
    return Use(blocks[form](), given)


def _values(run: Run, form: str) -> str:
    """How the values of pixels are scaled."""
    mean, std = (getattr(run.encoder, name, None) for name in ("mean", "std"))
    if form == "timm":
        return "values brought to the mean and deviation of config.json, as timm's transform does"
    if form == "hf":
        return "values brought to mean 0.5 and deviation 0.5, as the image processor does"
    if form == "safetensors" and mean is not None and std is not None:
        return (
            f"values of 0..1; selfwise's encoder brings them to mean {_numbers(mean)} and "
            f"deviation {_numbers(std)} by itself, timm's model wants them so"
        )
    return "values of 0..1, nothing else: what they are brought to is part of the model"


def _numbers(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values.flatten()]


def block(*lines: str) -> str:
    """Markdown of Python."""
    return "\n".join(["```python", *lines, "```"])


def call(start: str, first: str, options: Mapping[str, Any]) -> list[str]:
    """A call with an option a line."""
    told = [f"    {name}={value!r}," for name, value in options.items()]
    return [f"{start}(", f"    {first},", *told, ")"]


def _image_timm(mode: str) -> str:
    return block(
        "import timm",
        "import torch",
        "from PIL import Image, ImageOps",
        "",
        'model = timm.create_model("local-dir:.", pretrained=True).eval()',
        "config = timm.data.resolve_data_config(model=model)",
        "transform = timm.data.create_transform(**config)",
        'image = Image.new("RGB", (300, 200))  # or Image.open(FILE)',
        f'x = transform(ImageOps.exif_transpose(image).convert("{mode}"))[None]',
        "with torch.no_grad():",
        "    features = model(x)",
    )


def _by_name() -> str:
    return "or by its name:\n\n" + block(
        "import json",
        "from pathlib import Path",
        "",
        "import timm",
        "",
        'told = json.loads(Path("config.json").read_text())',
        "model = timm.create_model(",
        '    told["architecture"],',
        '    checkpoint_path="model.safetensors",',
        "    num_classes=0,",
        '    **told["model_args"],',
        ")",
    )


def _image_hf() -> str:
    return block(
        "import torch",
        "from PIL import Image",
        "from transformers import AutoImageProcessor, AutoModel",
        "",
        'processor = AutoImageProcessor.from_pretrained(".")',
        'model = AutoModel.from_pretrained(".").eval()',
        'image = Image.new("RGB", (300, 200))  # or Image.open(FILE)',
        "with torch.no_grad():",
        '    found = model(**processor(images=image, return_tensors="pt"))',
        "features = found.last_hidden_state[:, 1:].mean(dim=1)",
    )


def _image_onnx(size: int, channels: int) -> str:
    return block(
        "import numpy as np",
        "import onnxruntime",
        "",
        'session = onnxruntime.InferenceSession("model.onnx")',
        f"x = np.random.rand(2, {channels}, {size}, {size}).astype(np.float32)  # your images",
        '(features,) = session.run(["pooled"], {"x": x})',
    )


def _image_weights(run: Run, size: int, channels: int) -> list[str]:
    """With selfwise, and with timm where the encoder is a timm model."""
    told = dict(run.config["options"]["encoder"])
    name, x = told.pop("name"), f"x = torch.rand(2, {channels}, {size}, {size})  # your images"
    shape: dict[str, Any] = {"in_channels": channels, "size": size}
    module = {"beit": "vit", "codec": "codec"}.get(name.partition("-")[0], "vision")
    if module == "vision":
        shape |= {"stem": run.encoder.stem, **model_options(run)}
        shape |= {n: told[n] for n in ("sees",) if n in told}
        mean, std = run.encoder.mean, run.encoder.std
        if mean is not None and std is not None:
            shape["normalise"] = [_numbers(mean), _numbers(std)]
    else:
        shape |= asdict(run.encoder.shape)
    ours = block(
        "import torch",
        LOAD,
        "",
        f"from selfwise.encoders import {module}",
        "",
        *call(f"encoder = {module}.build", repr(name), shape),
        f'encoder{".model" * (module == "vision")}.load_state_dict(load_file("model.safetensors"))',
        x,
        "with torch.no_grad():",
        "    features = encoder.eval()(x).pooled",
    )
    return (
        [ours, "or without selfwise:", _with_timm(run, x, size)] if module == "vision" else [ours]
    )


def _with_timm(run: Run, x: str, size: int) -> str:
    """timm's model, with the parts that were changed."""
    encoder = run.encoder
    model, conv = encoder.model, getattr(encoder.model, "conv1", None)
    fixed = {"img_size": size} if model.pretrained_cfg.get("fixed_input_size") else {}
    seen = 1 if encoder.sees == "lightness" else run.config["found"]["channels"]
    told = {"num_classes": 0, "in_chans": seen, **fixed, **model_options(run)}
    lines = call("model = timm.create_model", repr(encoder.name), told)
    if encoder.stem != "timm" and conv is not None:
        shape = f"{conv.in_channels}, {conv.out_channels}, 3, {conv.stride[0]}"
        lines += [
            f"model.conv1 = torch.nn.Conv2d({shape}, padding=1, bias=False)",
            "model.maxpool = torch.nn.Identity()",
        ]
    lines += ['model.load_state_dict(load_file("model.safetensors"))', x]
    if encoder.sees == "lightness":
        lines += [
            "from skimage.color import rgb2lab",
            "lab = rgb2lab(x.expand(-1, 3, -1, -1).numpy(), channel_axis=1)",
            "x = torch.from_numpy(lab[:, :1]).float() / 100  # the lightness alone",
        ]
    if encoder.mean is not None and encoder.std is not None:
        mean, std = (f"torch.tensor({_numbers(v)})[:, None, None]" for v in
                     (encoder.mean, encoder.std))  # fmt: skip
        lines += [f"mean, std = {mean}, {std}", "x = (x - mean) / std"]
    lines += ["with torch.no_grad():", "    features = model.eval()(x)"]
    return block("import timm", "import torch", LOAD, "", *lines)
