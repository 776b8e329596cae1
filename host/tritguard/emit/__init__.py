"""Makes a bundle of a graph: C11 from Jinja templates, the golden model and a manifest."""

from tritguard.emit.bundle import Bundle, Manifest, open_bundle
from tritguard.emit.native import write_bundle

__all__ = ["Bundle", "Manifest", "open_bundle", "write_bundle"]
