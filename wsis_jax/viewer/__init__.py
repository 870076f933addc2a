"""The plugin of napari: `napari.yaml` says what it offers, a file for each. Only these files import napari and Qt."""
