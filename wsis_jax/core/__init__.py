"""Settings, result types, arithmetic of arrays, and what a process has: devices, memory, files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
