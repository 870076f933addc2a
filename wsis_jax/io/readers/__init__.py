"""Readers of the kinds of image files."""
