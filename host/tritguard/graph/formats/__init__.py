"""How a layer's weights lie in flash, one format a file: when it is offered, how it is packed, what it costs.

Every file of this folder is loaded: a format registers itself by its decorator (docs/adding-a-format.md).
"""

from importlib import import_module
from pkgutil import iter_modules

for _file in iter_modules(__path__):
    import_module(f"{__name__}.{_file.name}")
