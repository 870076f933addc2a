"""What a segmentation is written as: tables, files of other programs, pages to look at."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
