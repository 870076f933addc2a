"""Everything about points: likelihood maps, peaks, nuclei, and what may be wrong with clicks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
