"""The package `tokenizers`, imported when it is first used: a plain install does not have it."""

from typing import TYPE_CHECKING

from selfwise.core.extras import LazyModule

if TYPE_CHECKING:
    import tokenizers as tokenizers
    from tokenizers import decoders as decoders
    from tokenizers import models as models
    from tokenizers import normalizers as normalizers
    from tokenizers import pre_tokenizers as pre_tokenizers
    from tokenizers import processors as processors
    from tokenizers import trainers as trainers
else:
    tokenizers = LazyModule("tokenizers")
    decoders = LazyModule("tokenizers.decoders")
    models = LazyModule("tokenizers.models")
    normalizers = LazyModule("tokenizers.normalizers")
    pre_tokenizers = LazyModule("tokenizers.pre_tokenizers")
    processors = LazyModule("tokenizers.processors")
    trainers = LazyModule("tokenizers.trainers")
