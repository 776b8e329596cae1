"""Weight formats, one to a file: when each is offered, how weights are packed, what its kernel costs.

Every file of this folder is loaded, and a format registers itself by its decorator (docs/adding-a-format.md).
"""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")
