"""Memory that is freed: given back to the system, or kept for the next allocation."""

import ctypes
import platform

# The parameters of glibc's allocator, as malloc.h numbers them: see mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tells the C library to keep memory that is freed for the next allocation; returns whether it does.

    A compiled program allocates its intermediate results anew in every call: hundreds of megabytes in a step of
    training. Memory that was given back comes again as pages that the system must clear one by one. Memory that is
    kept needs no clearing, but the process stays as large as it ever was. So this is for a process that does
    nothing but train.

    To be called before JAX is imported, since a thread that has memory of its own by then keeps to that. Only
    glibc has these settings; elsewhere nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
    return all(mallopt(name, value) for name, value in settings.items())
