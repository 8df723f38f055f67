"""Views of images, text and sound; the functions here take plain tensors and a seed."""

from selfwise.views.functional import mask_spans, mask_tokens, simclr

__all__ = ["mask_spans", "mask_tokens", "simclr"]
