"""Weights for and from other tools: a reader and writer for each modality, and the model card."""
