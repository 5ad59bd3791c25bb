"""How the daemon's process uses its machine; said once, when all is loaded and before the stream.

tune_process()
"""

import ctypes
import gc
import sys

COLLECT_AFTER_OBJECTS = 50_000
KEPT_BYTES = 1 << 30
SWITCH_SECONDS = 2e-5
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def tune_process() -> None:
    """Let nothing that recurs with each micro-batch be done anew each time.

    The garbage collector looks seldom, and not at what is loaded and stays: by default it begins
    anew every 700 objects, in the midst of thousands of records that are all in use, which takes a
    third of what polling a record does. And memory that is let go is kept for the next micro-batch:
    by default it goes back to the kernel, which has to clear each page before it is used again.

    The scorer lets go of the GIL in each of the hundreds of short operations of a micro-batch, and
    by default waits up to 5 ms to get it back each time, from a thread that polls.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # it is glibc's
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
