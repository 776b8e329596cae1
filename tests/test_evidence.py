"""The evidence of a run as a folder: whole, checked to the byte, and repeated from its golden model alone."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from typer.testing import CliRunner

from tests.support.device_support import inputs
from tests.support.made_once import made_once
from tests.support.robustness_result import WRONG, N, make_result
from tests.support.schemas import assert_conforms
from tests.support.shared import ROOT
from tritguard import api
from tritguard.api.evidence_folder import check_alike, evidence, repeat, verify
from tritguard.boards.platformio import CORES
from tritguard.build import Build
from tritguard.cli import app
from tritguard.data import Dataset, write_dataset
from tritguard.data.dataset import read_dataset
from tritguard.device.bench import without_bench
from tritguard.emit import Bundle
from tritguard.errors import BadInputError, MismatchError
from tritguard.evaluate.deployment.result import DeploymentResult
from tritguard.evaluate.robustness.result import RobustnessResult, read_result
from tritguard.evaluate.study import Rate, StudyProvenance
from tritguard.predictor import Outputs
from tritguard.report.evidence import samples
from tritguard.report.evidence.answers import read_answers
from tritguard.report.evidence.document import readme
from tritguard.report.evidence.manifest import EvidenceManifest, checksums, file_changes, open_evidence, sha256_of
from tritguard.report.evidence.mapping import mapped_texts
from tritguard.report.evidence.notices import notices
from tritguard.report.evidence.samples import samples_csv
from tritguard.report.evidence.signature import signature_changes
from tritguard.report.pdf import to_pdf
from tritguard.report.registry import facts_of, to_html
from tritguard.report.robustness import facts as robustness_facts
from tritguard.twin import Twin

pytest_plugins = ["tests.support.device_fixtures"]
pytestmark = [
    pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"),
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"),
]
CLASSES = 5  # of the small model


def data_of(bundle: Bundle) -> tuple[Dataset, list[int]]:
    """Samples and the classes that the model takes them for; the first ones are labelled wrongly."""
    x = inputs(bundle, 400)
    found = Twin(bundle).predict(x).labels
    ones = [x[found == label][0] for label in np.unique(found)]
    places = np.arange(N) % len(ones)
    clean = np.unique(found)[places]
    labels = np.where(np.arange(N) < WRONG, (clean + 1) % CLASSES, clean)
    return Dataset("noise", np.stack(ones)[places], labels, tuple("abcde"), "steps", "none"), clean.tolist()


def result_of(bundle: Bundle, build: Build, data: Dataset, clean: list[int]) -> RobustnessResult:
    """A result with every field set, whose hashes are those of this bundle, build and data."""
    fields = make_result().model_dump(mode="json")
    fields["samples"] |= {"labels": data.y_test.tolist(), "clean": clean}
    fields["classes"] = list(data.classes)
    for picture in fields["pictures"]:
        seen = clean[picture["sample"]]
        picture |= {"label": int(data.y_test[picture["sample"]]), "clean_prediction": seen}
    identity = {"bundle_sha256": bundle.sha256, "model_sha256": bundle.manifest.model_sha256}
    fields["provenance"] |= identity | {"data_sha256": data.sha256, "data_name": data.name}
    fields["firmware"] |= {"elf_sha256": build.record.elf_sha256, "model_sha256": bundle.manifest.model_sha256}
    kept = ("samples", "classes", "pictures", "provenance", "firmware")
    return make_result(**{name: fields[name] for name in kept})


@pytest.fixture(scope="module")
def run(small_bundle: Bundle, small_build: Build, common_temp: Path) -> Path:
    """The folder of a run as `attack` leaves it, with bundle, build and data in it."""

    def make(out: Path) -> None:
        shutil.copytree(small_bundle.path, out / "bundle")
        shutil.copytree(small_build.path, out / "build")
        data, clean = data_of(small_bundle)
        write_dataset(out / "data.npz", data)
        result = result_of(small_bundle, small_build, data, clean)
        (out / "result.json").write_text(result.model_dump_json(indent=2))
        (out / "report.html").write_text(to_html(result))

    return made_once(common_temp / "evidence-run", make)


@pytest.fixture(scope="module")
def filed(run: Path, common_temp: Path) -> Path:
    made = lambda out: evidence(run, out, data=str(run / "data.npz"), pdf=False)  # noqa: E731
    return made_once(common_temp / "evidence-filed", made)


@pytest.fixture
def copy(filed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filed, tmp_path / "evidence"))


def changed(folder: Path) -> set[str]:
    return {change.where for change in verify(folder)[1]}


def test_the_folder_is_whole(run: Path, filed: Path) -> None:
    manifest, found, unlike, hashed = verify(filed)
    assert not found and not unlike
    assert {"sbom/tool.cdx.json", "THIRD_PARTY_NOTICES.txt", "cards/data.md", "inputs.npz"} <= set(hashed)
    assert_conforms(filed / "evidence.json", "evidence")
    assert_conforms(filed / "results" / "result.json", "robustness")
    files = {path.relative_to(filed).as_posix() for path in filed.rglob("*") if path.is_file()}
    assert files == {*manifest.files, "evidence.json", "SHA256SUMS"}
    hashes = {part.role: part.sha256 for part in manifest.parts}
    result = api.read_study(run / "result.json")
    assert isinstance(result, RobustnessResult)
    assert hashes["golden model"] == result.provenance.model_sha256
    assert hashes["firmware ELF"] == result.firmware.elf_sha256
    assert hashes["data"] == result.provenance.data_sha256
    assert all(hashes.values())  # the compiler is here, so its program was hashed too
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=filed, capture_output=True, check=False
    )
    assert done.returncode == 0 and done.stdout.count(b": OK\n") == len(files) - 1


def test_what_people_read_is_what_was_found(filed: Path) -> None:
    text, result = (filed / "README.md").read_text(), api.read_study(filed / "results" / "result.json")
    assert isinstance(result, RobustnessResult)
    for code in (*(issue.code for issue in result.issues), *result.passed, *(one.code for one in result.unmade)):
        assert f"`{code}`" in text
    for point in (result.clean, *(point.robust for point in result.curve)):
        assert f"{point.k} of {point.n}" in text
    for fact in facts_of(result).values():
        assert fact.replace("_", "\\_") in text
    rows = [row for each in mapped_texts() for row in each.row]
    table = text[text.index("## Terms of laws") :]
    assert all(f"| {row.term} | {row.asks} |" in table for row in rows)
    untested = [row for row in rows if row.offered(facts_of(result)) == "not tested"]
    assert table.count("| not tested |") == len(untested) > 5
    for name in {row.attack for row in result.attacks}:
        assert text.count(f"\n- {name}, ") == 1
    lower = text.lower()
    assert "complies" not in lower and "compliant" not in lower and "claims compliance with nothing" in lower


def test_figures_that_the_table_of_terms_names_are_there() -> None:
    """A name that no study gives would be 'not tested' for ever; of the studies to come there may be some."""
    to_come = {"corruptions.lead"}
    by_kind = ("white_box", "black_box", "transfer", "baseline", "random", "greedy")
    source = "".join(path.read_text() for path in (ROOT / "host" / "tritguard" / "report").glob("*.py"))
    for row in (row for text in mapped_texts() for row in text.row):
        for name in set(row.figures) - to_come:
            fact = name.partition(".")[2]
            assert f'"{fact}"' in source or fact in by_kind


@pytest.mark.parametrize("name", ["sbom/firmware.cdx.json", "sbom/tool.cdx.json"])
def test_bills_of_materials_are_cyclonedx(name: str, filed: Path) -> None:
    text = (filed / name).read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parts = {part["name"] for part in json.loads(text)["components"]}
    if "firmware" in name:
        assert {"small.tflite", "c/tg_model.c"} <= parts and any(part.startswith("newlib (libc") for part in parts)
    else:
        assert {"numpy", "pydantic", "Jinja2"} <= parts or {"numpy", "pydantic", "jinja2"} <= parts


def test_the_table_of_samples_counts_to_the_same_figures(filed: Path) -> None:
    """Counted here from the CSV alone, as anybody can."""
    head, *lines = [line.split(",") for line in (filed / "samples.csv").read_text().splitlines()]
    result = api.read_study(filed / "results" / "result.json")
    assert isinstance(result, RobustnessResult) and len(lines) == N
    right = [line[head.index("right")] == "1" for line in lines]
    assert sum(right) == result.clean.k
    for point in result.curve:
        broken = [at for at, name in enumerate(head) if " at eps " in name and int(name.split()[-1]) <= point.eps_steps]
        held = sum(ok and all(line[at] == "0" for at in broken) for ok, line in zip(right, lines, strict=True))
        assert held == point.robust.k


def bytes_to_change(folder: Path) -> Iterator[tuple[Path, int]]:
    """The first, the last and one byte in the middle of every file."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = path.stat().st_size
        yield from ((path, at) for at in {0, size // 3, size - 1})


def test_one_changed_byte_anywhere_is_found_and_named(copy: Path) -> None:
    both = {"SHA256SUMS", "evidence.json"}  # each says of the other what it should be
    for path, at in bytes_to_change(copy):
        content, name = path.read_bytes(), path.relative_to(copy).as_posix()
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            found = {change.where for change in file_changes(copy, open_evidence(copy))}
            assert found & (both if name in both else {name}), f"byte {at} of {name}"
        except BadInputError as error:  # the manifest can no longer be read
            assert name == "evidence.json" and "evidence.json" in str(error)
        path.write_bytes(content)
    assert not changed(copy)


def test_a_file_that_was_added_removed_or_linked_is_named(copy: Path, tmp_path: Path) -> None:
    (copy / "cards" / "more.md").write_text("x")
    (copy / "samples.csv").unlink()
    (copy / "report.html").rename(tmp_path / "elsewhere.html")
    (copy / "report.html").symlink_to(tmp_path / "elsewhere.html")
    found = list(map(str, verify(copy)[1]))
    assert "cards/more.md: does not belong here" in found and "samples.csv: is missing" in found
    assert "report.html: is a link, not a file" in found


@pytest.mark.parametrize("name", ["evidence.json", "SHA256SUMS", "SHA256SUMS.sig"])
def test_a_link_is_named_though_no_hash_is_filed_of_it(name: str, copy: Path, tmp_path: Path) -> None:
    """What a link leads to can be another file for the next reader."""
    (tmp_path / "elsewhere").write_bytes((copy / name).read_bytes() if (copy / name).exists() else b"")
    (copy / name).unlink(missing_ok=True)
    (copy / name).symlink_to(tmp_path / "elsewhere")
    assert list(map(str, verify(copy)[1])) == [f"{name}: is a link, not a file"]


def test_the_title_is_what_was_measured(copy: Path) -> None:
    fields = json.loads((copy / "evidence.json").read_text())
    (copy / "evidence.json").write_text(json.dumps(fields | {"title": "another model on another board"}))
    refiled(copy, "README.md")
    found = [str(one) for one in verify(copy)[1]]
    assert f"evidence.json: has another title than the results give it: {fields['title']}" in found


def refiled(folder: Path, name: str, text: str | None = None) -> None:
    """Change a file, if a text is given, and every hash of it, as somebody does who knows the format."""
    if text is not None:
        (folder / name).write_bytes(text.encode())
    manifest = open_evidence(folder)
    manifest = manifest.model_copy(update={"files": manifest.files | {name: sha256_of(folder / name)}})
    (folder / "evidence.json").write_text(manifest.model_dump_json(indent=2) + "\n")
    (folder / "SHA256SUMS").write_text(checksums(manifest.files, sha256_of(folder / "evidence.json")))


def test_figures_are_counted_again_where_every_hash_was_made_to_fit(copy: Path) -> None:
    path = copy / "results" / "result.json"
    honest = path.read_text()
    fields = json.loads(honest)
    fields["curve"][0]["robust"] |= {"k": fields["curve"][0]["robust"]["k"] + 1}
    refiled(copy, "results/result.json", json.dumps(fields))
    (change,) = verify(copy)[1]
    assert change.where == "results/result.json" and "curve.0.robust" in change.what
    refiled(copy, "results/result.json", honest)
    table = (copy / "samples.csv").read_text()
    refiled(copy, "samples.csv", table.replace(",1,", ",0,", 1))
    (change,) = verify(copy)[1]
    assert change.where == "samples.csv" and "the result gives" in change.what
    refiled(copy, "samples.csv", table)
    refiled(copy, "README.md", (copy / "README.md").read_text().replace("%", "% or so", 1))
    assert [str(change) for change in verify(copy)[1]] == ["README.md: is not what the results give"]


@pytest.mark.parametrize("cell", ["a\rb", "1" * 140_000])
def test_a_table_that_is_none_is_named(cell: str, copy: Path) -> None:
    table = (copy / "samples.csv").read_text()
    refiled(copy, "samples.csv", table.replace(",1,", f",{cell},", 1))
    (change,) = verify(copy)[1]
    assert change.where == "samples.csv" and change.what.startswith("is no table (")


def test_whatever_goes_wrong_with_the_figures_is_a_finding(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError("not thought of")

    monkeypatch.setattr(samples, "samples_csv", broken)
    assert [str(one) for one in verify(copy)[1]] == ["results: cannot be counted again (RuntimeError: not thought of)"]


def deployment_of(result: RobustnessResult, **identity: str) -> DeploymentResult:
    """A result of the study beside it, of the same model unless `identity` says otherwise."""
    kept = set(StudyProvenance.model_fields)
    model = {"name": "small", "bundle_sha256": result.provenance.bundle_sha256, "ternary_layers": 0} | identity
    return DeploymentResult.model_validate(
        {
            "status": "degraded",
            "issues": [
                {"code": code, "severity": "warn", "message": ""}
                for code in ("NO_ORACLE", "FEW_SAMPLES", "ACCURACY_AT_CHANCE")
            ],
            "provenance": {name: value for name, value in result.provenance.model_dump().items() if name in kept},
            "plan": {},
            "model": {"model_sha256": result.provenance.model_sha256, "weight_layers": 3} | model,
            "classes": ["a", "b"],
            "accuracy": Rate.of(3, 4).model_dump(),
            "confusion": [[2, 1], [0, 1]],
            "confirmation": result.confirmation.model_dump() | {"inputs": 4},
            "oracle": None,
            "firmware": result.firmware.model_dump(),
            "latency": result.latency.model_dump(),
        }
    )


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("deployment", None),
        ("other", "is of another model than the first result"),
        ("robustness", "is a second result of robustness"),
    ],
)
def test_results_beside_are_one_a_study_and_of_the_model(kind: str, what: str | None, copy: Path) -> None:
    result = read_result(copy / "results" / "result.json")
    identity = {"bundle_sha256": "0" * 64, "model_sha256": "1" * 64} if kind == "other" else {}
    study = result if kind == "robustness" else deployment_of(result, **identity)
    (copy / "results" / f"{kind}.json").write_text(study.model_dump_json())
    listed = json.loads((copy / "evidence.json").read_text())
    (copy / "evidence.json").write_text(json.dumps(listed | {"results": [*listed["results"], f"results/{kind}.json"]}))
    refiled(copy, f"results/{kind}.json")
    found = [str(one) for one in verify(copy)[1] if one.where == f"results/{kind}.json"]
    assert found == ([] if what is None else [f"results/{kind}.json: {what}"])


def test_the_same_thing_is_meant_everywhere(copy: Path) -> None:
    record = json.loads((copy / "firmware" / "build.json").read_text())
    refiled(copy, "firmware/build.json", json.dumps(record | {"elf_sha256": "0" * 64}))
    assert "is of another firmware ELF than the manifest" in str(verify(copy)[1][0])


@pytest.mark.parametrize("name", ["../result.json", "/etc/passwd", "a/../../b", "a\nb", "a\\b"])
def test_no_path_leads_out_of_the_folder(name: str, copy: Path) -> None:
    fields = json.loads((copy / "evidence.json").read_text())
    (copy / "evidence.json").write_text(json.dumps(fields | {"files": fields["files"] | {name: "0" * 64}}))
    with pytest.raises(BadInputError, match="is no path inside the folder"):
        verify(copy)


def armoured(raw: bytes) -> bytes:
    """A signature as ssh-keygen spells it."""
    code = base64.b64encode(raw).decode()
    lines = [code[start : start + 70] for start in range(0, len(code), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


def test_a_signature_is_checked_to_the_byte(run: Path, tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("OpenSSH is not installed")
    for name in ("key", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
    folder, signers = tmp_path / "signed", tmp_path / "allowed"
    evidence(run, folder, data=str(run / "data.npz"), key=tmp_path / "key", pdf=False)
    signers.write_text(f"lab@example.org {(tmp_path / 'key.pub').read_text()}")
    assert not verify(folder)[1] and not verify(folder, signers=signers, identity="lab@example.org")[1]
    (stranger,) = verify(folder, signers=signers, identity="other@example.org")[1]
    assert "is no signature of other@example.org" in stranger.what
    path = folder / "SHA256SUMS.sig"
    content = path.read_bytes()
    for at in {*range(0, len(content), 29), len(content) - 1}:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert [one.where for one in signature_changes(folder, None, None)] == ["SHA256SUMS.sig"], at
    assert changed(folder) == {"SHA256SUMS.sig"}
    raw = base64.b64decode(b"".join(content.splitlines()[1:-1]))
    for at in range(len(raw)):
        path.write_bytes(armoured(raw[:at] + bytes([raw[at] ^ 2]) + raw[at + 1 :]))
        assert signature_changes(folder, None, None), f"byte {at} of the signature is not checked"
    path.write_bytes(armoured(raw))
    assert path.read_bytes() == content
    path.unlink()
    assert not verify(folder)[1]
    assert "nobody signed" in str(verify(folder, signers=signers, identity="lab@example.org")[1])
    signers.write_text(f"lab@example.org {(tmp_path / 'other.pub').read_text()}")
    path.write_bytes(content)
    assert changed(folder) == set() and verify(folder, signers=signers, identity="lab@example.org")[1]
    with pytest.raises(BadInputError, match="give --identity too"):
        verify(folder, signers=signers)
    with pytest.raises(BadInputError, match=r"lab@example.org: has to have signed, .* give --signers too"):
        verify(folder, identity="lab@example.org")


@pytest.mark.slow
def test_a_repetition_asks_a_firmware_made_again(filed: Path, copy: Path) -> None:
    """One byte of one answer that was filed is another one: the firmware gives all others."""
    arrays = dict(np.load(copy / "inputs.npz"))
    arrays["scores"][0, 0] ^= 1
    np.savez(copy / "inputs.npz", **arrays)
    result = api.read_study(filed / "results" / "result.json")
    found = repeat(copy, 16)
    assert found.mismatched == (result.provenance.sample_indices[0],)
    assert (found.samples, found.same_code) == (16, True) and found.bytes_compared > 16 * 5


def test_another_model_is_found_where_the_manifest_does_not_name_its_file(copy: Path) -> None:
    """A part without a file would turn its check off; the folder's own files are what they are all the same."""
    content = (copy / "model" / "model.tflite").read_bytes()
    (copy / "model" / "model.tflite").write_bytes(content + b"\0")
    fields = json.loads((copy / "evidence.json").read_text())
    fields["parts"] = [part | {"file": None} for part in fields["parts"]]
    (copy / "evidence.json").write_text(json.dumps(fields))
    refiled(copy, "model/model.tflite")
    found = list(map(str, verify(copy)[1]))
    assert "model/model.tflite: is another golden model than the one that was measured" in found
    assert any(one.startswith("evidence.json: says of the golden model that its file is None") for one in found)
    with pytest.raises(MismatchError, match="is another model than the one that was measured"):
        repeat(copy, 1)
    (copy / "evidence.json").write_text(json.dumps(fields | {"parts": [*fields["parts"], fields["parts"][0]]}))
    with pytest.raises(BadInputError, match="two parts with the role 'golden model'"):
        verify(copy)


def test_answers_that_could_be_compared_in_part_only_are_refused(tmp_path: Path) -> None:
    scores, logits = np.zeros((2, 3), np.int8), np.zeros((2, 3))
    for ours, theirs in (
        (Outputs(scores), Outputs(scores, logits)),
        (Outputs(scores, logits), Outputs(scores)),
        (Outputs(scores[:, :1]), Outputs(scores)),
        (Outputs(scores[:, :2]), Outputs(scores)),
    ):
        with pytest.raises(BadInputError, match=r"scores and .* logits for each sample, the firmware answers 3 scores"):
            check_alike(ours, theirs, tmp_path)
    check_alike(Outputs(scores, logits), Outputs(scores, logits), tmp_path)


def test_inputs_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """Members that are encrypted, or packed in a way that Python does not know, and an array larger than any memory."""
    path = tmp_path / "inputs.npz"
    arrays = {"x": np.zeros((2, 1), np.int8), "scores": np.zeros((2, 3), np.int8)}
    np.savez(path, **arrays)
    whole = path.read_bytes()
    assert len(read_answers(path, 2, (1,), None).x) == 2
    for field, value in ((8, 1), (6, 99)):  # the flags, and the version needed, in each entry of the directory
        content = bytearray(whole)
        for entry in re.finditer(b"PK\x01\x02", whole):
            content[entry.start() + field] = value
        for entry in re.finditer(b"PK\x03\x04", whole):
            content[entry.start() + field - 2] = value
        path.write_bytes(bytes(content))
        with pytest.raises(BadInputError, match="is no file of inputs and answers"):
            read_answers(path, 2, (1,), None)
    with zipfile.ZipFile(path, "w") as archive:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "|i1", "fortran_order": False, "shape": (1 << 46, 1)})
        for name in ("x.npy", "scores.npy"):
            archive.writestr(name, head.getvalue())
    with pytest.raises(BadInputError, match="is no file of inputs and answers"):
        read_answers(path, 2, (1,), None)


def test_no_file_of_one_s_own_is_copied_through_a_link(run: Path, filed: Path, tmp_path: Path) -> None:
    """The card of a training is copied where the run trained, and only if it is a file."""
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("bundle", "build"))
    places = {"bundle": run / "bundle", "firmware": run / "build", "data": str(run / "data.npz"), "pdf": False}
    (tmp_path / "id_ed25519").write_text("a key of one's own")
    (folder / "train").mkdir()
    (folder / "train" / "card.md").symlink_to(tmp_path / "id_ed25519")
    evidence(folder, tmp_path / "a", **places)
    assert not (tmp_path / "a" / "cards" / "training.md").exists()
    fields = json.loads((folder / "result.json").read_text())
    fields["provenance"]["configuration"] = "[train]\n"
    (folder / "result.json").write_text(json.dumps(fields))
    with pytest.raises(BadInputError, match="is a link, whose file would be copied into the evidence"):
        evidence(folder, tmp_path / "b", **places)
    fields["provenance"]["configuration"] = "[train"
    (folder / "result.json").write_text(json.dumps(fields))
    with pytest.raises(BadInputError, match=r"provenance\.configuration: not TOML"):
        evidence(folder, tmp_path / "b", **places)


def test_a_licence_is_taken_from_the_toolchain_alone(small_build: Build, filed: Path, tmp_path: Path) -> None:
    """A map may name an archive anywhere, with anything below share/doc beside it."""
    place = tmp_path / "share" / "doc" / "libnewlib-arm-none-eabi" / "copyright"
    place.parent.mkdir(parents=True)
    place.write_text("a letter of one's own")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libc.a").write_bytes(b"")
    build = tmp_path / "build"
    shutil.copytree(small_build.path, build)
    (build / "firmware.map").write_text(f"{tmp_path}/lib/libc.a(lib_a-memset.o)\nDiscarded input sections\n")
    text = notices(Build(build, small_build.record))
    assert "libc.a" in text and "a letter" not in text and "Its text was not found" in text
    if Path("/usr/share/doc/libnewlib-arm-none-eabi/copyright").is_file():
        assert "Its text was not found" not in (filed / "THIRD_PARTY_NOTICES.txt").read_text()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('n = 4\n[bench]\nupload = "flash --token x"\n# x\n\n[attack]\neps = [1]\n', "n = 4\n[attack]\neps = [1]\n"),
        ("[attack]\neps = [\n  [1],\n]\n", "[attack]\neps = [\n  [1],\n]\n"),
        ('bench.upload = "flash --token x"\n', None),
        ('bench = { upload = "flash --token x" }\n', None),
        ('[bench]\nupload = """\n[x]\n--token x"""\n', None),
    ],
)
def test_commands_of_a_bench_are_in_no_result(text: str, left: str | None) -> None:
    found = without_bench(text)
    assert "token" not in found and (found == left if left is not None else found.startswith("# Not kept"))


def test_no_row_takes_what_was_not_looked_for_as_evidence() -> None:
    rows = {row.term: row for text in mapped_texts() for row in text.row}
    assert not rows["15(5): data poisoning"].figures and not rows["15(5): model poisoning"].figures
    assert "one session" in rows["15(1): consistency through the life cycle"].silent
    result = make_result()
    rows_left = tuple(row for row in result.attacks if row.kind != "baseline" or row.eps_steps == 64)
    beyond = robustness_facts(result.model_copy(update={"attacks": rows_left}))
    assert beyond["baseline"] == "ran beyond the threat model only: Noise"


def test_no_platform_that_the_folder_names_is_fetched(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform of PlatformIO's is a program, and old versions of it are still there to be named."""
    record = json.loads((copy / "firmware" / "build.json").read_text())
    board = record["board"] | {
        "platformio": {"platform": "standin", "version": "0.0.1", "board": "x", "framework": "arduino"},
        "uart": {"driver": "arduino", "baud": 115200},
        "clock": {"hz": 25_000_000},
    }
    refiled(copy, "firmware/build.json", json.dumps(record | {"board": board}))
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "core"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # whoever asks the registry all the same gets no answer
    for cores in (None, tmp_path / "empty"):
        monkeypatch.delenv(CORES, raising=False)
        if cores is not None:
            monkeypatch.setenv(CORES, str(cores))
        with pytest.raises(
            BadInputError, match="would fetch and run PlatformIO's platform standin; let TRITGUARD_CORES"
        ):
            repeat(copy, 1)
    assert not (tmp_path / "core").exists()


def test_nothing_of_the_folder_is_executed(copy: Path) -> None:
    """C that somebody puts there does not belong; a repetition without a model is refused."""
    (copy / "model" / "c").mkdir()
    (copy / "model" / "c" / "tg_model.c").write_text("#error executed")
    assert changed(copy) == {"model/c/tg_model.c"}
    (copy / "inputs.npz").unlink()
    with pytest.raises(BadInputError, match="holds no inputs"):
        repeat(copy, 1)


def test_the_report_is_printed_where_it_can_be(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("weasyprint", reason="PDFs need the extra 'pdf'")
    assert to_pdf((run / "report.html").read_text()).startswith(b"%PDF-")
    asked = []
    monkeypatch.setattr(socket.socket, "connect", lambda _self, address: asked.append(address))
    assert to_pdf('<img src="http://192.0.2.1/x.png"><link rel="stylesheet" href="http://192.0.2.1/x.css">')
    assert not asked


def test_what_cannot_be_printed_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)  # as where it is not installed
    (left_out,) = evidence(run, tmp_path / "a", data=str(run / "data.npz")).left_out
    assert left_out.what == "report.pdf"
    assert "needs WeasyPrint, which cannot be loaded; pip install 'tritguard[pdf]'" in left_out.why


def test_hashes_alone_can_be_filed(run: Path, tmp_path: Path) -> None:
    manifest = evidence(run, tmp_path / "thin", hashes_only=True, pdf=False)
    readme = (tmp_path / "thin" / "README.md").read_text()
    assert "nothing can be asked again" in readme and "--repeat" not in readme
    assert re.search("^- Bound: .*\n- Range of the data: .*\n- Knowledge: ", readme, re.MULTILINE)
    assert not verify(tmp_path / "thin")[1]
    assert not {"model/model.tflite", "firmware/firmware.bin", "inputs.npz"} & set(manifest.files)
    assert all(part.sha256 for part in manifest.parts) and not any(part.file for part in manifest.parts[2:])
    with pytest.raises(BadInputError, match="holds no golden model: it was written with --hashes-only"):
        repeat(tmp_path / "thin", 1)


def test_only_what_was_measured_is_filed(run: Path, tmp_path: Path, lively_bundle: Bundle) -> None:
    data = str(run / "data.npz")
    with pytest.raises(BadInputError, match="does not say where its data is; give it with --data"):
        evidence(run, tmp_path / "a")
    with pytest.raises(BadInputError, match="is not the bundle that was evaluated"):
        evidence(run, tmp_path / "a", data=data, bundle=lively_bundle.path)
    other = read_dataset(run / "data.npz")
    write_dataset(tmp_path / "other.npz", Dataset("n", other.x_test[1:], other.y_test[1:], other.classes, "steps", ""))
    with pytest.raises(BadInputError, match="is not the data that was attacked"):
        evidence(run, tmp_path / "a", data=str(tmp_path / "other.npz"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(BadInputError, match="exists and is no untouched evidence folder"):
        evidence(run, tmp_path / "mine", data=data)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep me"
    assert not (tmp_path / "a").exists()


def test_words_of_others_stay_words() -> None:
    """A name that is Markdown, HTML or a formula is text in the README and in the table."""
    base = make_result().model_dump()
    hostile = "=1+1|<img src=x>](javascript:1)\x1b[2J"
    base["attacks"] = [row | {"attack": hostile} for row in base["attacks"] if row["attack"] == "PGD"]
    base["samples"]["attacks"] = [
        row | {"attack": hostile} for row in base["samples"]["attacks"] if row["attack"] == "PGD"
    ]
    base["samples"]["doubled"], base["doubling"], base["pictures"], base["growth"] = [], [], [], []
    kept = ("attacks", "samples", "doubling", "pictures", "growth")
    result = make_result(**{name: base[name] for name in kept})
    assert samples_csv(result).splitlines()[0].split(",")[6].startswith("'=1+1")
    manifest = EvidenceManifest(
        created="now", tritguard="0", title=hostile, parts=(), results=("results/result.json",), left_out=(), files={}
    )
    text = readme(manifest, result, [])
    assert "\\|\\<img src=x\\>\\](javascript:1)\\\\u001b\\[2J" in text and "<img" not in text.replace("\\<img", "")


def test_a_result_that_the_model_does_not_bear_out_is_not_filed(run: Path, tmp_path: Path) -> None:
    """A whole result, of another order of the samples than the model answers."""
    fields = json.loads((run / "result.json").read_text())
    fields["provenance"]["sample_indices"] = [*range(1, N), 0]
    fields["pictures"] = []
    (tmp_path / "result.json").write_text(json.dumps(fields))
    places = {"bundle": run / "bundle", "firmware": run / "build"}
    with pytest.raises(MismatchError, match="the model gives some samples other classes than the result holds"):
        evidence(tmp_path / "result.json", tmp_path / "a", data=str(run / "data.npz"), **places)


def test_the_verbs(run: Path, tmp_path: Path) -> None:
    invoke = CliRunner().invoke
    out = tmp_path / "filed"
    done = invoke(app, ["evidence", str(run), "-o", str(out), "-d", str(run / "data.npz"), "--no-pdf"])
    assert done.exit_code == 0 and f"tritguard verify {out}" in done.output.replace("\n", "")
    done = invoke(app, ["verify", str(out)])
    assert done.exit_code == 0 and "as they were filed; not signed" in done.output
    fields = json.loads((out / "evidence.json").read_text())
    (out / "evidence.json").write_text(json.dumps(fields | {"tritguard": "99"}))
    refiled(out, "README.md", "Nothing was found.")
    done = invoke(app, ["verify", str(out)])
    unlike = "NOT compared with the results (written by another tritguard): README.md, report.html, cards/model.md"
    assert done.exit_code == 0 and unlike in done.output.splitlines()
    (out / "evidence.json").write_text("{")
    assert isinstance(invoke(app, ["verify", str(out)]).exception, BadInputError)  # exit code 2
    (out / "evidence.json").write_text(json.dumps(fields))
    (out / "samples.csv").write_text("")
    done = invoke(app, ["verify", str(out)])
    assert done.exit_code == 1 and "CHANGED  samples.csv: was changed" in done.output
