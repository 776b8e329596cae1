"""JSON Schemas of the files that tritguard writes and reads, made from their records and the records' docstrings."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from typing_extensions import override

from tritguard.records import Record

# One entry under "Attributes:": the names of its fields, then its text, whose further lines are indented.
_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {5,}.+)*)", re.MULTILINE)


def schema_text(record: type[Record], name: str, mode: Literal["validation", "serialization"]) -> str:
    """Write the schema of a record's files, in draft 2020-12, as JSON.

    Args:
        record: the class.
        name: what the schema is called; its `$id` has the version of the file's format too, where there is one.
        mode: `validation` for files that people write, in which fields with a default may be missing; `serialization`
            for those that tritguard writes, in which none is.
    """
    version = record.model_fields.get("schema_version")
    head = {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"urn:tritguard:schema:{name}" + ("" if version is None else f":{version.default}"),
    }
    found = record.model_json_schema(schema_generator=_Described, mode=mode)
    return json.dumps(head | found, indent=2) + "\n"


class _Described(GenerateJsonSchema):
    """Takes descriptions from docstrings: for a record the first part, for a field its entry under "Attributes"."""

    @override
    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        about, entries = _documented(schema["cls"])
        found["description"] = about
        for name, field in found.get("properties", {}).items():
            field.pop("title", None)  # the field's name once more
            if name in entries:
                field["description"] = entries[name]
        return found

    @override
    def function_plain_schema(self, schema: core_schema.PlainValidatorFunctionSchema) -> JsonSchemaValue:
        """Describe a table from which code makes one of several records: a schema cannot say which."""
        return {"type": "object"}


def _documented(record: type[Any]) -> tuple[str, dict[str, str]]:
    """What a record says about itself, and about each of its fields, including those that it inherits."""
    entries: dict[str, str] = {}
    parents = [parent for parent in record.__mro__ if issubclass(parent, BaseModel)]
    for parent in reversed(parents):
        _, _, attributes = inspect.cleandoc(parent.__doc__ or "").partition("Attributes:\n")
        for names, text in _ENTRY.findall(attributes):
            entries |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    about = inspect.cleandoc(record.__doc__ or "").partition("Attributes:\n")[0]
    return " ".join(about.split()), entries
