"""A robustness result with every field set, for tests of reports and of the registry of studies."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from tritguard.evaluate import data_checks
from tritguard.evaluate.robustness.checks import check
from tritguard.evaluate.robustness.evidence import Measured, gather
from tritguard.evaluate.robustness.figures import AttackRow, Control, CurvePoint, Doubling, Growth, Symptoms
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.table import SampleTable, count
from tritguard.evaluate.study import Issue, Rate, status_of

N = 300
EPS = {1: 104, 2: 18, 4: 2, 8: 0}
RAN_AT = EPS | {64: 0}
CLASSES = 12
LABELS = [place % CLASSES for place in range(N)]
WRONG = 24  # the first samples are wrong on the clean input; of the others the first ones hold
# Each leaves so many more than the worst case, and needs so many queries; what leads it.
ATTACKS = (
    ("PGD", "white box", 0, 40.0, "gradients"),
    ("Noise", "baseline", 150, 10.0, "scores"),
    ("FGSM", "white box", 90, 0.0, "one gradient"),
    ("Square", "black box", 100, 300.0, "scores"),
    ("HopSkipJump", "black box", 120, 300.0, "decisions"),
    ("Transfer", "transfer", 130, 6.0, "scores"),
)
ROWS = [
    (*attack, eps, correct)
    for attack in ATTACKS
    for eps, correct in RAN_AT.items()
    if (attack[0], eps) != ("Transfer", 64)
]
BLIND = {"shown": "scores", "softmax_head": True}  # changes of the symptoms that make a result degraded


def picture(shape: tuple[int, ...], eps: int = 8, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    clean = rng.integers(-128, 128, shape).astype(np.int16)
    sample = N - 1 - seed  # right on the clean input, and broken by every attack but the noise
    changed = np.clip(clean + rng.choice((-eps, eps), shape), -128, 127)
    return {
        "sample": sample,
        "label": LABELS[sample],
        "clean_prediction": LABELS[sample],
        "adversarial_prediction": (LABELS[sample] + 1) % CLASSES,
        "attack": "PGD",
        "eps_steps": eps,
        "shape": shape,
        "clean_base64": base64.b64encode(clean.astype(np.int8).tobytes()).decode(),
        "adversarial_base64": base64.b64encode(changed.astype(np.int8).tobytes()).decode(),
    }


def attack_rows() -> list[dict[str, Any]]:
    return [
        {
            "attack": attack,
            "kind": kind,
            "follows": follows,
            "starts": 2 if follows == "gradients" else 1,
            "eps_steps": eps,
            "robust": Rate.of(correct + weaker, N).model_dump(),
            "parameters": {"steps": 40, "restarts": 2, "step size, steps": 2.5 * eps / 40, "loss": "margin"},
            "queries_per_sample": queries,
            "gradients_per_sample": 80.5,
            "seconds": 12.25,
        }
        for attack, kind, weaker, queries, follows, eps, correct in ROWS
    ]


def sample_table() -> dict[str, Any]:
    """What the figures of `make_result` are counted from."""
    clean = [(label + 1) % CLASSES if place < WRONG else label for place, label in enumerate(LABELS)]
    attacks = [
        {"attack": attack, "eps_steps": eps, "broken": held(correct + weaker).translate({48: 49, 49: 48})}
        for attack, _, weaker, _, _, eps, correct in ROWS
    ]
    doubled = [{"attack": "PGD", "eps_steps": eps, "broken": "0" * N} for eps, correct in EPS.items() if correct]
    return {"labels": LABELS, "clean": clean, "attacks": attacks, "doubled": doubled}


def held(count: int) -> str:
    """A digit for each sample, 1 for those that hold if so many do."""
    return "0" * WRONG + "1" * count + "0" * (N - WRONG - count)


def fidelity(eps: int, left: int, **changes: Any) -> dict[str, Any]:
    """Gradients that lead where they promise, at an eps at which so many samples hold."""
    counts = {"held": left, "astray": 0, "rough": 0, "repaired": False, "left": left, "lost": 0}
    return {"eps_steps": eps, **counts, **changes}


def control_with(left: int) -> dict[str, Any]:
    """A control of which so many samples hold."""
    figures = {"clean": Rate.of(N - WRONG - 1, N).model_dump(), "robust": Rate.of(left, N).model_dump()}
    table = {"right": held(N - WRONG - 1), "held": held(left)}
    return {"name": "plain", "model_sha256": "c" * 64, "eps_steps": 8, **figures, "samples": table}


def judged(fields: dict[str, Any]) -> dict[str, Any]:
    """What the checks find in these fields, as the fields that say so."""
    table = SampleTable.model_validate(fields["samples"])
    measured = Measured(
        samples=table,
        curve=tuple(map(CurvePoint.model_validate, fields["curve"])),
        attacks=tuple(map(AttackRow.model_validate, fields["attacks"])),
        doubling=tuple(map(Doubling.model_validate, fields["doubling"])),
        growth=tuple(map(Growth.model_validate, fields.get("growth", ()))),
        control=None if fields["control"] is None else Control.model_validate(fields["control"]),
        symptoms=Symptoms.model_validate(fields["symptoms"]),
        mismatched_inputs=fields["confirmation"]["mismatched_inputs"],
        disagreed=tuple(one["board"] for one in fields["confirmation"].get("quarantined", ()) if one["disagreed"]),
        left_out=fields.get("left_out", {}),
    )
    verdict = check(gather(measured, count(table), fields["threat_model"]["eps_steps"][-1]))
    shares = {one.code: (one.severity(fields["data_checks"][one.code]), one) for one in data_checks.CHECKS}
    issues = [issue.model_dump() for issue in verdict.issues]
    issues += [
        {"code": code, "severity": severity, "message": f"of the data: {code}"}
        for code, (severity, _) in shares.items()
        if severity in ("warn", "invalid")
    ]
    return {
        "issues": issues,
        "passed": [*verdict.passed, *(code for code, (severity, _) in shares.items() if severity == "passed")],
        "unmade": [one.model_dump() for one in verdict.unmade],
        "status": status_of(tuple(map(Issue.model_validate, issues))),
    }


def make_result(**changes: Any) -> RobustnessResult:
    """A realistic result of a keyword-spotting net on an emulated board; `changes` replace whole fields.

    Its issues and its status are what the checks find, unless `changes` names them.
    """
    curve = [{"eps_steps": e, "eps_input": e * 0.584, "robust": Rate.of(k, N).model_dump()} for e, k in RAN_AT.items()]
    fields: dict[str, Any] = {
        "provenance": {
            "created": "2031-05-06T07:08:09Z",
            "command": "tritguard attack build/dscnn --board mps2-an386 --samples 300",
            "tritguard": "0.1.0",
            "python": "3.11.2",
            "platform": "Linux-6.1-x86_64",
            "packages": {"numpy": "2.4.1", "adversarial-robustness-toolbox": "1.20.1"},
            "tools": {"arm-none-eabi-gcc": "12.2.1", "qemu-system-arm": "7.2.11"},
            "seed": 20,
            "bundle_sha256": "b" * 64,
            "model_name": "dscnn_int8",
            "model_sha256": "a" * 64,
            "data_name": "gsc_kws01",
            "data_sha256": "d" * 64,
            "sample_indices": list(range(N)),
        },
        "threat_model": {
            "eps_steps": list(EPS),
            "eps_input": [e * 0.584 for e in EPS],
            "input_unit": "MFCC value",
            "knowledge": "white box: weights and gradients of the deployed network",
        },
        "classes": ["down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes", "silence", "unknown"],
        "model_macs": 2656768,
        "ternary_layers": 5,
        "weight_layers": 10,
        "clean": Rate.of(N - WRONG, N).model_dump(),
        "clean_full": Rate.of(901, 1000).model_dump(),
        "curve": curve,
        "attacks": attack_rows(),
        "samples": sample_table(),
        "symptoms": {
            "shown": "logits",
            "softmax_head": False,
            "unsteady_inputs": 0,
            "zero_gradients": 0.0,
            "saturated": 0.0,
            "plateaus": 0.0,
            "control_guesses": False,
        },
        "data_checks": {one.code: 0.0 for one in data_checks.CHECKS},
        "control": control_with(0),
        "doubling": [
            {"attack": "PGD", "eps_steps": eps, "steps": 80, "tried": correct, "broken": 0}
            for eps, correct in EPS.items()
        ],
        "confirmation": {
            "inputs": 2700,
            "bytes_compared": 162_000,
            "mismatched_inputs": 0,
            "resent_frames": 3,
            "seconds": 417.5,
        },
        "firmware": {
            "board": "mps2-an386",
            "board_name": "Arm MPS2 AN386",
            "core": "cortex-m4",
            "emulated": True,
            "build_id": "c0ffee0123456789",
            "model_sha256": "a" * 64,
            "elf_sha256": "e" * 64,
            "clock_hz": 25_000_000,
        },
        "latency": {
            "runs": 2700,
            "ticks_median": 31_415_926,
            "ticks_min": 31_415_920,
            "ticks_max": 31_415_931,
            "tick_hz": 25_000_000,
            "instructions": 31_415_926,
            "cycles_estimated": 44_000_000,
            "cycles_method": "1.4 cycles an instruction",
            "core_hz": 25_000_000,
        },
        "footprint": {
            "flash_total": 61_234,
            "flash_sections": {".isr_vector": 64, ".text": 20_170, ".rodata": 40_988, ".data": 12},
            "flash_groups": {"weights and parameters": 40_100, "kernels": 9_800, "protocol": 6_334, "C library": 4_000},
            "flash_layers": [
                {"layer": 0, "op": "CONV_2D", "name": "conv_1", "bytes": 3_321},
                {"layer": 1, "op": "DEPTHWISE_CONV_2D", "name": "dw_1", "bytes": 1_377},
            ],
            "ram_static": 36_111,
            "ram_arena": 32_000,
            "stack_peak": 1_234,
            "stack_reserved": 4_096,
            "regions": [
                {"name": ".isr_vector", "start": 0, "bytes": 64, "load": 0},
                {"name": ".text", "start": 64, "bytes": 20_170, "load": 64},
                {"name": ".data", "start": 0x20000000, "bytes": 12, "load": 61_222},
                {"name": ".bss", "start": 0x20000010, "bytes": 36_099, "load": None},
            ],
        },
        "pictures": [picture((49, 10, 1), eps=1, seed=s) for s in range(5)],
    }
    symptoms = changes.pop("symptoms", {})
    fields |= changes
    if any(row["kind"] == "white box" for row in fields["attacks"]):
        left = {point["eps_steps"]: point["robust"]["k"] for point in fields["curve"]}
        fields["symptoms"]["fidelity"] = [fidelity(eps, k) for eps, k in left.items()]
    fields["symptoms"] |= symptoms
    found = {"status": "valid", "issues": []} if fields.get("schema_version") == 1 else judged(fields)
    return RobustnessResult.model_validate(found | fields)
