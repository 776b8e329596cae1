"""A report's page as PDF, printed by WeasyPrint, which runs no script and here loads nothing."""

from __future__ import annotations

from tritguard.errors import ToolMissingError


def to_pdf(html: str) -> bytes:
    """Print a page, whoever wrote what it shows: it can load nothing but `data:` URLs.

    Raises:
        ToolMissingError: WeasyPrint, or Pango that it draws text with, is not installed.
    """
    try:
        from weasyprint import HTML  # noqa: PLC0415 - an extra, and slow to import
        from weasyprint.urls import URLFetcher  # noqa: PLC0415
    except (ImportError, OSError) as error:  # OSError: Pango is missing
        fix = "pip install 'tritguard[pdf]'; on Debian or Ubuntu also: apt install libpango-1.0-0 libpangoft2-1.0-0"
        raise ToolMissingError("a PDF needs WeasyPrint, which cannot be loaded", fix=fix) from error
    printed: bytes = HTML(string=html, url_fetcher=URLFetcher(allowed_protocols=("data",))).write_pdf()
    return printed
