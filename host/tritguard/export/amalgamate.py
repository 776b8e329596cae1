"""Joins all C files of a model into one header: the interface, and the implementation behind a macro."""

from __future__ import annotations

import re

_COMMENT_OR_STRING = r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
_PARTS = re.compile(_COMMENT_OR_STRING + r"|(?:\.|->)\s*[A-Za-z_]\w*|[A-Za-z_]\w*", re.DOTALL)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.MULTILINE)
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_INCLUDE = re.compile(r'[ \t]*#[ \t]*include[ \t]+"([^"]+)"')
_GUARD = re.compile(r"#ifndef (\w+)\n#define \1\n")
_CONDITION = re.compile(r"[ \t]*#[ \t]*(if|endif)")
_ATTRIBUTE = re.compile(r"__attribute__\s*\(\(.*?\)\)|_Alignas\s*\([^)]*\)", re.DOTALL)


def amalgamate(sources: dict[str, str], prefix: str) -> tuple[str, str]:
    """Return the text of the interface and of the implementation.

    Names that are private to a .c file are prefixed with the file's name and `own`, because one translation unit now
    holds them all, next to the files' public names and whatever the user's own file defines.

    Args:
        sources: the C files by name, from `renamed_sources`.
        prefix: what every name that they share starts with.
    """
    model = f"{prefix}_model"
    units = {name: text for name, text in sources.items() if name.endswith(".c")}
    written = {f"{model}.h"}
    parts = []
    for name in sorted(units, key=lambda name: (name == f"{model}.c", name)):
        text = units[name]
        # The model's own file needs no renaming: all its names start with the prefix, and the user may define
        # TG_ARENA_STORAGE, so that name has to stay.
        if name != f"{model}.c":
            text = _private(text, name.removesuffix(".c"), f"{prefix}_")
        parts.append(f"/* {name} */\n{_inlined(text, sources, written)}")
    return sources[f"{model}.h"], "\n".join(parts)


def _private(text: str, stem: str, prefix: str) -> str:
    """Make the file-scope names of a .c file unique.

    Struct members keep their names, so a member declared in the file must not share its name with a file-scope one.
    """
    own = _file_scope_names(text)
    return _PARTS.sub(lambda part: f"{stem}_own_{part[0].removeprefix(prefix)}" if part[0] in own else part[0], text)


def _file_scope_names(text: str) -> set[str]:
    """Return the macros, static functions and objects, types and enumerators that a .c file defines."""
    names = set(_DEFINE.findall(text))
    bare = _DIRECTIVE.sub("", re.sub(_COMMENT_OR_STRING, "", text, flags=re.DOTALL))
    for head, body in _declarations(_ATTRIBUTE.sub("", bare)):
        names |= set(re.findall(r"\b(?:struct|union|enum)\s+(\w+)\s*$", head)) if body else set()
        if re.search(r"\benum\b", head):
            names |= set(re.findall(r"(\w+)\s*(?:=[^,]*)?(?:,|$)", body.strip()))
        if head.startswith("typedef"):
            names |= set(re.findall(r"\(\s*\*\s*(\w+)\s*\)|(\w+)\s*$", head)[0])
        elif re.match(r".*\bstatic\b", head, re.DOTALL) and (name := re.search(r"(\w+)\s*(?:[(\[=]|$)", head)):
            names.add(name[1])
    return names - {""}


def _declarations(bare: str) -> list[tuple[str, str]]:
    """Return every file-scope declaration: its text outside braces, and the text inside its outermost braces."""
    found, head, body, depth = [], "", "", 0
    for char in bare:
        depth -= char == "}"
        if depth:
            body += char
        elif char == ";" or (char == "}" and "(" in head and "=" not in head):
            found.append((head.strip(), body))
            head, body = "", ""
        elif char not in "{}":
            head += char
        depth += char == "{"
    return found


def _inlined(text: str, sources: dict[str, str], written: set[str]) -> str:
    """Replace each #include by the header's text.

    A header is inlined once, except that one under an #if does not count as written, since it may be left out.
    """
    lines = []
    depth = -1 if _GUARD.search(text) else 0  # a header's guard does not count as a condition
    for line in text.splitlines():
        if condition := _CONDITION.match(line):
            depth += 1 if condition[1] == "if" else -1
        include = _INCLUDE.match(line)
        if include is None:
            lines.append(line)
        elif include[1] not in written:
            if depth == 0:
                written.add(include[1])
            lines.append(_inlined(sources[include[1]], sources, written if depth == 0 else set(written)))
    return "\n".join(lines)
