"""Discrete units of speech and images: features, k-means that streams, labels on disk."""
