"""Types that the converters share."""

from typing import Any

from torch import Tensor

Weights = dict[str, Tensor]  # tensors by their names
JsonObject = dict[str, Any]  # a json file of another library, such as config.json
EncoderOptions = dict[str, Any]  # fields of an encoder's shape preset
