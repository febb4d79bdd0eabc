"""The garbage collector of a long-running server."""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 10_000


def settle_heap() -> None:
    """Take what is imported for permanent, and look for cycles less often.

    The modules of a server are some 100,000 objects; looking through them again and again was a tenth of
    the time of every send.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
