"""The studies that there are, and functions that read the result of any of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tritguard.errors import BadInputError
from tritguard.evaluate.certify.study import CERTIFY
from tritguard.evaluate.corruptions.study import CORRUPTIONS
from tritguard.evaluate.deployment.study import DEPLOYMENT
from tritguard.evaluate.faults.study import FAULTS
from tritguard.evaluate.kind import StudyKind
from tritguard.evaluate.privacy.study import PRIVACY
from tritguard.evaluate.robustness.study import ROBUSTNESS
from tritguard.evaluate.sound.study import SOUND
from tritguard.evaluate.study import Study
from tritguard.evaluate.transfer.study import TRANSFER
from tritguard.records import from_json

# In the order that a run carries them out and its report shows them.
STUDIES: tuple[StudyKind[Any, Any], ...] = (
    ROBUSTNESS,
    CERTIFY,
    DEPLOYMENT,
    CORRUPTIONS,
    SOUND,
    FAULTS,
    TRANSFER,
    PRIVACY,
)


def kind_of(study: Study) -> StudyKind[Any, Any]:
    """The kind of study that a result belongs to."""
    return next(kind for kind in STUDIES if kind.name == study.kind)


def leading() -> StudyKind[Any, Any]:
    """The study whose report is that of the whole run."""
    return next(kind for kind in STUDIES if kind.leads)


def read_study(path: Path) -> Study:
    """Read the result of any study from its JSON file.

    A file that does not say which study it is of is taken for the leading one's: older versions wrote none into theirs.

    Raises:
        BadInputError: the file cannot be read, holds no result of a known study and schema version, or contradicts
            itself.
    """
    name = _stated_kind(path)
    kind = leading() if name is None else next((each for each in STUDIES if each.name == name), None)
    if kind is None:
        known = ", ".join(each.name for each in STUDIES)
        raise BadInputError(f"kind: there is no study {name!r}", where=str(path), fix=f"give a result of {known}")
    found: Study = from_json(kind.result, path, fix=f"give a {kind.file} as tritguard wrote it")
    return found


def _stated_kind(path: Path) -> object:
    """What a file says it is; None if it says nothing or cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content.get("kind") if isinstance(content, dict) else None


def studies_beside(path: Path, study: Study) -> list[Study]:
    """Read the results that lie beside one of the same model, for a report that takes them in.

    Args:
        path: the file of `study`. Beside it, files are looked for under the names that a run gives them; one that does
            not say it is a result of that study is passed over.
        study: if its report takes in no others, nothing is read.

    Returns:
        The results, in the order of `STUDIES`.

    Raises:
        BadInputError: a file says that it is a result, and is none.
    """
    if not kind_of(study).leads:
        return []
    files = [
        path.with_name(kind.file)
        for kind in STUDIES
        if not kind.leads and _stated_kind(path.with_name(kind.file)) == kind.name
    ]
    return [other for other in map(read_study, files) if other.models_sha256 & study.models_sha256]
