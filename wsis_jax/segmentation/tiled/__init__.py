"""Segmentation of images that do not fit into memory, tile after tile."""
