"""Loading code and inputs of exports of runs on images, for their model cards.

The blocks of Python run unchanged, one after the other, inside the folder of the export.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePath

from selfwise.encoders.custom import AdaptedEncoder
from selfwise.interop.image_preprocessing import READER, shorter_side
from selfwise.nn.evaluation_crop import choose_crop_fraction
from selfwise.runs.open import Run
from selfwise.workflows.import_export.model_card import Usage
from selfwise.workflows.import_export.to_timm import format_shortest_decimals, model_options

LOAD = "from safetensors.torch import load_file"
_FACTORIES = {
    "beit": ("beit", "build_beit_encoder"),
    "codec": ("image_codec", "build_codec_encoder"),
}  # module and function by the first part of an encoder's name


def describe_image_usage(run: Run, form: str) -> Usage:
    """Describe how to load an export of a run on images."""
    size, channels = run.record.info.size, run.record.info.channels
    mode, what = ("RGB", "in color") if channels == 3 else ("L", "gray")
    inputs = [
        f"images of {size} x {size} px, {what}: float32 (batch, {channels}, {size}, {size})",
        *(_describe_their_reading(size) if form in ("hf", "timm") else _describe_our_reading(size)),
        _describe_scaling(run, form),
    ]
    blocks = {
        "hf": lambda: [_image_hf(run)],
        "timm": lambda: [_image_timm(mode), _by_name()],
        "onnx": lambda: [_image_onnx()],
        "safetensors": lambda: _image_weights(run),
    }
    return Usage(blocks[form](), inputs)


def _describe_our_reading(size: int) -> list[str]:
    """Describe how files become images, for cards that include the reading code."""
    part = f"{100 * choose_crop_fraction(size):g} %" if choose_crop_fraction(size) < 1 else "all"
    return [
        f"of a file: upright, the central square with {part} of the shorter side, resized once to "
        f"{size} px; preprocessing.json has every step as options of `read`, and the features "
        "equal those of `selfwise embed`, up to rounding",
    ]


def _describe_their_reading(size: int) -> list[str]:
    """Describe how files become images, for exports that another tool reads."""
    return [
        f"of a file: upright, its shorter side resized to {shorter_side(size)} px (bicubic with "
        f"antialiasing), the middle {size} x {size} px",
        "the same tensor gives the same features, up to rounding, and so does a file whose shorter "
        f"side has {shorter_side(size)} px; for other sizes the features nearly equal those of "
        "`selfwise embed`, which resizes once, after the cut, and does not round to 8 bits between",
    ]


def _describe_scaling(run: Run, form: str) -> str:
    """Describe how the values of pixels are scaled."""
    mean, std = (getattr(run.encoder, name, None) for name in ("mean", "std"))
    if form == "timm":
        return "values scaled to the mean and deviation of config.json, as timm's transform does"
    if form == "hf":
        return "values scaled to mean 0.5 and deviation 0.5, as the image processor does"
    if form == "safetensors" and mean is not None and std is not None:
        return (
            f"values of 0..1; selfwise's encoder scales them to mean "
            f"{format_shortest_decimals(mean)} and deviation {format_shortest_decimals(std)} "
            "itself, while timm's model takes them scaled"
        )
    return "values of 0..1, without further scaling: the model scales them itself"


def format_block(*lines: str) -> str:
    """Format Python as a block of Markdown."""
    return "\n".join(["```python", *lines, "```"])


def format_call(start: str, first: str, options: Mapping[str, object]) -> list[str]:
    """Format a call with one option per line; `first` is a positional argument, if not empty."""
    arguments = [f"    {name}={value!r}," for name, value in options.items()]
    return [f"{start}(", *([f"    {first},"] if first else []), *arguments, ")"]


def _image_timm(mode: str) -> str:
    return format_block(
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
    return "or by its name:\n\n" + format_block(
        "import json",
        "from pathlib import Path",
        "",
        "import timm",
        "",
        'config = json.loads(Path("config.json").read_text())',
        "model = timm.create_model(",
        '    config["architecture"],',
        '    checkpoint_path="model.safetensors",',
        '    pretrained_cfg=config["pretrained_cfg"],  # mean, deviation and size of its images',
        "    num_classes=0,",
        '    **config["model_args"],',
        ").eval()",
    )


def _image_hf(run: Run) -> str:
    """Take the features where the model has its last norm."""
    masked = run.record.method == "beit" and run.encoder.shape.norm == "tokens"
    kind = "BeitForMaskedImageModeling" if masked else "AutoModel"
    if masked:
        features = "model.layernorm(output.hidden_states[-1][:, 1:]).mean(dim=1)"
    elif run.encoder.shape.norm == "tokens":
        features = "output.last_hidden_state[:, 1:].mean(dim=1)"
    else:
        features = "output.pooler_output"
    return format_block(
        "import torch",
        "from PIL import Image, ImageOps",
        f"from transformers import AutoImageProcessor, {kind}",
        "",
        'processor = AutoImageProcessor.from_pretrained(".")',
        f'model = {kind}.from_pretrained(".").eval()',
        'image = Image.new("RGB", (300, 200))  # or Image.open(FILE)',
        'image = ImageOps.exif_transpose(image).convert("RGB")',
        'inputs = processor(images=image, return_tensors="pt")',
        "with torch.no_grad():",
        "    output = model(**inputs, output_hidden_states=True)",
        f"    features = {features}",
    )


# your picture in place of the black one; `read` takes its options from `reading`
_READ = (
    'reading = json.loads(Path("preprocessing.json").read_text())',
    "",
    "",
    *READER.splitlines(),
    "",
    "",
    'images = [Image.new("RGB", (300, 200))]  # or Image.open(FILE)',
    "x = np.stack([read(image) for image in images])",
)


def _image_onnx() -> str:
    return format_block(
        "import json",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "import onnxruntime",
        "from PIL import Image, ImageOps",
        "",
        *_READ,
        'session = onnxruntime.InferenceSession("model.onnx")',
        '(features,) = session.run(["pooled"], {"x": x})',
    )


def _image_weights(run: Run) -> list[str]:
    """Show how to read pictures, and load the encoder by selfwise, and by timm for a timm model."""
    size, channels = run.record.info.size, run.record.info.channels
    options = run.record.encoder_options
    name, shape = run.record.encoder_name, {"in_channels": channels, "size": size}
    if run.loaded.code.encoder is not None:
        return [_format_reading(), "and then", _outside_weights(run)]
    module, factory = _FACTORIES.get(name.partition("-")[0], ("image", "build_image_encoder"))
    if module == "image":
        shape |= {"stem": run.encoder.stem, **model_options(run)}
        shape |= (
            {"color_space": options["color_space"]} if options["color_space"] != "color" else {}
        )
        mean, std = run.encoder.mean, run.encoder.std
        if mean is not None and std is not None:
            shape["normalize"] = [format_shortest_decimals(mean), format_shortest_decimals(std)]
    else:
        shape |= asdict(run.encoder.shape)
    ours = format_block(
        f"from selfwise.encoders import {module}",
        "",
        *format_call(f"encoder = {module}.{factory}", repr(name), shape),
        f'encoder{".model" * (module == "image")}.load_state_dict(load_file("model.safetensors"))',
        "with torch.no_grad():",
        "    features = encoder.eval()(x).pooled",
    )
    by_timm = ["or with timm, without selfwise:", _with_timm(run)] if module == "image" else []
    return [_format_reading(), "and then", ours, *by_timm]


def _outside_weights(run: Run) -> str:
    """Load the encoder by its author's code, which is not part of the export."""
    record, adapted = run.record, isinstance(run.encoder, AdaptedEncoder)
    factory = PurePath(record.encoder_name).name
    options = ", ".join(f"{n}={v!r}" for n, v in record.encoder_options.items() if v is not None)
    return format_block(
        f"# make_encoder is the encoder that the run names: {factory}",
        f"encoder = make_encoder({options})",
        'encoder.load_state_dict(load_file("model.safetensors"))',
        "with torch.no_grad():",
        "    features = encoder.eval()(x)" + ("" if adapted else ".pooled"),
    )


def _format_reading() -> str:
    return format_block(
        "import json",
        "from pathlib import Path",
        "",
        "import numpy as np",
        "import torch",
        "from PIL import Image, ImageOps",
        LOAD,
        "",
        *_READ,
        "x = torch.from_numpy(x)",
    )


def _with_timm(run: Run) -> str:
    """Load timm's model, and change the parts that the run changed."""
    encoder, size = run.encoder, run.record.info.size
    model, conv = encoder.model, getattr(encoder.model, "conv1", None)
    fixed = {"img_size": size} if model.pretrained_cfg.get("fixed_input_size") else {}
    seen = 1 if encoder.color_space == "lightness" else run.record.info.channels
    arguments = {"num_classes": 0, "in_chans": seen, **fixed, **model_options(run)}
    lines = format_call("model = timm.create_model", repr(encoder.name), arguments)
    if encoder.stem != "timm" and conv is not None:
        shape = f"{conv.in_channels}, {conv.out_channels}, 3, {conv.stride[0]}"
        lines += [
            f"model.conv1 = torch.nn.Conv2d({shape}, padding=1, bias=False)",
            "model.maxpool = torch.nn.Identity()",
        ]
    lines += ['model.load_state_dict(load_file("model.safetensors"))']
    if encoder.color_space == "lightness":
        lines += [
            "from skimage.color import rgb2lab",
            "lab = rgb2lab(x.expand(-1, 3, -1, -1).numpy(), channel_axis=1)",
            "x = torch.from_numpy(lab[:, :1]).float() / 100  # the lightness alone",
        ]
    if encoder.mean is not None and encoder.std is not None:
        mean, std = (f"torch.tensor({format_shortest_decimals(v)})[:, None, None]" for v in
                     (encoder.mean, encoder.std))  # fmt: skip
        lines += [f"mean, std = {mean}, {std}", "x = (x - mean) / std"]
    lines += ["with torch.no_grad():", "    features = model.eval()(x)"]
    return format_block("import timm", "", *lines)
