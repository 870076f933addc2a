"""The plugin of napari: `napari.yaml` says what it offers. Only these files import napari and Qt."""
