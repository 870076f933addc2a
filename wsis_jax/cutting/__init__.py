"""Winner map to label image: seeds, costs, a graph cut per cell, fusing."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
