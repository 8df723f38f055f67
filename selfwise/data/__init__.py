"""Datasets and batches of images, text and audio."""
