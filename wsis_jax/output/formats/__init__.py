"""The formats that a segmentation is written as."""
