"""Signatures by OpenSSH: `ssh-keygen -Y`, with a key that the user has and that tritguard never reads."""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import subprocess
from pathlib import Path

from tritguard.errors import BadInputError, ToolMissingError
from tritguard.report.evidence.manifest import CHECKSUMS, SIGNATURE, Change

NAMESPACE = "tritguard-evidence"

_PROGRAM = "ssh-keygen"
_ARMOUR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\n(.*)-----END SSH SIGNATURE-----\n", re.DOTALL)
_LINE = 70
_VERSION_1 = b"SSHSIG\0\0\0\1"  # ssh-keygen takes later versions too, and the number is not part of what is signed


def sign(folder: Path, key: Path) -> None:
    """Sign the list of checksums, and with it every file, into `SHA256SUMS.sig`.

    Args:
        folder: the evidence.
        key: the user's private key, or a public one whose private key ssh-agent holds.

    Raises:
        BadInputError: the key cannot be used.
        ToolMissingError: OpenSSH is not installed.
    """
    if not key.is_file():
        raise BadInputError("no such key", where=str(key), fix="make one with: ssh-keygen -t ed25519 -f FILE")
    done = _run("sign", "-f", str(key.resolve()), CHECKSUMS, folder=folder)
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise BadInputError(f"cannot sign ({last})", where=str(key), fix="see man ssh-keygen, -Y sign")


def signature_changes(folder: Path, signers: Path | None, identity: str | None) -> list[Change]:
    """Check the signature: that it is of these checksums, and where signers are given, that one of them made it.

    Args:
        folder: the evidence.
        signers: the reader's own allowed_signers file for OpenSSH; without it, any key will do.
        identity: which of the signers it has to be.

    Returns:
        What is wrong; nothing where there is no signature and none was asked for.

    Raises:
        ToolMissingError: OpenSSH is not installed.
    """
    path = folder / SIGNATURE
    if path.is_symlink():
        return [Change(SIGNATURE, "is a link, not a file")]
    if not path.is_file():
        return [Change(SIGNATURE, "is missing: nobody signed")] if signers is not None else []
    if not _is_canonical(path.read_bytes()):
        return [Change(SIGNATURE, "was changed: it is not as ssh-keygen writes one")]
    content = (folder / CHECKSUMS).read_bytes() if (folder / CHECKSUMS).is_file() else b""
    if signers is None:
        done = _run("check-novalidate", "-s", str(path.resolve()), folder=folder, given=content)
        return [] if done.returncode == 0 else [Change(SIGNATURE, f"is not a signature of this {CHECKSUMS}")]
    who = ["-f", str(signers.resolve()), "-I", identity or ""]
    done = _run("verify", *who, "-s", str(path.resolve()), folder=folder, given=content)
    return [] if done.returncode == 0 else [Change(SIGNATURE, f"is no signature of {identity} by a key in {signers}")]


def _is_canonical(content: bytes) -> bool:
    """Whether a signature is spelled as ssh-keygen spells it, so that no change of a byte goes unnoticed."""
    found = _ARMOUR.fullmatch(content)
    if found is None:
        return False
    try:
        raw = base64.b64decode(found[1].replace(b"\n", b""), validate=True)
    except binascii.Error:
        return False
    if not raw.startswith(_VERSION_1):
        return False
    code = base64.b64encode(raw)
    return b"".join(code[start : start + _LINE] + b"\n" for start in range(0, len(code), _LINE)) == found[1]


def _run(action: str, *options: str, folder: Path, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    if shutil.which(_PROGRAM) is None:
        raise ToolMissingError("is needed for signatures", where=_PROGRAM, fix="apt install openssh-client")
    command = [_PROGRAM, "-Y", action, "-n", NAMESPACE, *options]
    return subprocess.run(command, cwd=folder, input=given, capture_output=True, check=False)
