"""Puts pages that stand at the top of the repository into the site, and leads links to where they are there.

MkDocs calls these functions by their names; a name in `hooks` of mkdocs.yml makes it do so.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
FIRST = {"README.md": "index.md"}  # the site has a first page of its own
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand beside docs/."""
    for name in BESIDE:
        files.append(File.generated(config, name, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead each link to where its target stands in the site; of one to any other file the words stay."""
    folder = "" if page.file.src_uri in BESIDE else "docs/"
    return LINK.sub(lambda link: _led(link, folder), markdown)


def _led(link: re.Match[str], folder: str) -> str:
    text, target, anchor = link[1], link[2], link[3] or ""
    inside = target.removeprefix("../") if folder and target.startswith("../") else folder + target
    if inside.startswith("docs/"):
        return f"[{text}]({inside.removeprefix('docs/')}{anchor})"
    if inside in BESIDE:
        return f"[{text}]({inside}{anchor})"
    return f"[{text}]({FIRST[inside]})" if inside in FIRST else text
