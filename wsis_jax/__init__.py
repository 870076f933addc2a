"""Cell instance segmentation learnt from rough cell centroids alone.

Conventions, the same in every file:

* Arrays are (row, column); a point is (row, column) in pixels, and the centre of the top-left pixel is (0, 0).
* Images are float32, 0..1 after normalisation: (height, width) of one channel, (height, width, channels) of two
  to four. A batch has an axis in front.
* Labels are 0 for background and 1..N for cells; saved as uint16 up to 65,535 cells and as uint32 above.
* Lengths are pixels; sigma is a standard deviation.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("wsis-jax")

# What the stub beside this file lists is imported when it is first used: `wsis --help` does not wait for JAX.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
