"""Makes imports that create many objects take less processor time: half for TensorFlow, four fifths for a command."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Keras has wrappers for scikit-learn, for which it imports all of scikit-learn and SciPy's statistics if they are
# installed. Nothing here uses those wrappers, and they say so to whoever calls them.
_UNUSED = "sklearn"


@contextmanager
def heavy_imports(*, freeze: bool = True) -> Iterator[None]:
    """Import in this block what makes objects by the million.

    They all stay. Looking for garbage among them takes a third of the import, and as long again when the process ends,
    so nothing is looked for in the block, and its objects are frozen. scikit-learn cannot be imported in the block
    unless it has been before; afterwards it can.

    Args:
        freeze: whether to freeze the objects that there are. An open HDF5 file that is frozen is closed too late, when
            the interpreter that it needs is gone.
    """
    collecting, hidden = gc.isenabled(), _UNUSED not in sys.modules
    gc.disable()
    if hidden:
        sys.modules[_UNUSED] = None  # type: ignore[assignment] # makes its import an ImportError
    try:
        yield
    finally:
        if hidden:
            del sys.modules[_UNUSED]
        if collecting:
            if freeze:
                gc.freeze()
            gc.enable()
