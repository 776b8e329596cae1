"""Honest results of every kind of study with every field set, small enough to be damaged and read many times."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tests.support.robustness_result import control_with, make_result, picture
from tritguard.attack.corruptions import ALL
from tritguard.attack.sound import FrontEnd, decibels
from tritguard.data.sound import write_wav
from tritguard.evaluate.faults.result import FaultDraw, FaultPoint
from tritguard.evaluate.privacy.result import FALSE_RATES
from tritguard.evaluate.registry import STUDIES
from tritguard.evaluate.study import Rate, Study, StudyProvenance, status_of, warn

Fields = dict[str, Any]

_RANGE = {"low": 0, "high": 255, "low_step": -128, "high_step": 127}
_IDENTITY = {
    "name": "small",
    "bundle_sha256": "b" * 64,
    "model_sha256": "a" * 64,
    "ternary_layers": 1,
    "weight_layers": 2,
}  # fmt: skip


@cache
def honest_results(kind: str) -> tuple[Study, ...]:
    """The honest results of a kind of study; some kinds have several, because not all fields go together."""
    return tuple(_MAKERS[kind]())


def _rate(k: int, n: int) -> Fields:
    return Rate.of(k, n).model_dump()


def _study(kind: str, samples: int, codes: tuple[str, ...], **fields: Any) -> Study:
    """A result of a study on so many samples, with these warnings."""
    issues = tuple(warn(code, f"why {code}") for code in codes)
    provenance = make_result().provenance.model_dump(include=set(StudyProvenance.model_fields))
    told = {
        "status": status_of(issues),
        "issues": issues,
        "provenance": provenance | {"sample_indices": list(range(7, 7 + samples))},
    }
    result = next(each.result for each in STUDIES if each.name == kind)
    made: Study = result.model_validate(told | fields)
    return made


def _confirmation(inputs: int) -> Fields:
    lost = {"board": "COM1", "reason": "fell silent", "disagreed": False}
    lent = {"lent_boards": 1, "lent_inputs": 1, "quarantined": [lost]}
    seen = {"inputs": inputs, "bytes_compared": 9 * inputs, "mismatched_inputs": 0, "resent_frames": 1, "seconds": 2.5}
    return seen | lent | {"bulk_inputs": inputs, "uart_again": 1}


def _robustness() -> list[Study]:
    result = make_result(
        control=control_with(0),
        growth=[{"attack": "Square", "eps_steps": 1, "queries": [300, 600], "broken": [2], "settled": True}],
        throughput={"workers": 1, "jobs": 8, "reused": 1, "refused": 1, "seconds": 2, "queries": 9, "gradients": 9},
        confirmation=_confirmation(2700),
        budgets={"pgd": {"steps": 40}},
        pictures=[picture((28, 28, 1)), picture((49, 10, 1), seed=1)],
    )
    fields = result.model_dump()
    old = type(result).model_validate(
        fields | {"schema_version": 1, "samples": None, "control": fields["control"] | {"samples": None}}
    )
    return [result, old]


def _certify() -> list[Study]:
    def point(eps: int, statuses: str) -> Fields:
        return {
            "eps_steps": eps,
            "eps_input": 0.5 * eps,
            "statuses": statuses,
            "levels": "1230",
            "proved": _rate(statuses.count("p"), 4),
            "unbroken": _rate(4 - statuses.count("b"), 4),
            "attacked": _rate(4 - statuses.count("b"), 4),
            "tried": {"intervals": 3, "relaxation": 2, "splitting": 1},
            "seconds": {"intervals": 0.1, "relaxation": 0.2, "splitting": 2.0},
            "counterexamples": [{"sample": 8, "label": 1, "shape": [2], "input_base64": "AAE="}],
        }

    return [
        _study(
            "certify",
            4,
            ("FEW_SAMPLES",),
            plan={"samples": 4, "eps": [1, 2]},
            model=_IDENTITY,
            input_unit="pixel/255",
            data_range=_RANGE,
            clean=_rate(3, 4),
            points=[point(1, "ppob"), point(2, "pbob")],
            confirmation=_confirmation(9),
        )
    ]


def _deployment() -> list[Study]:
    measured = make_result()
    spread = {"mean": 1e-3, "deviation": 1e-5, "least": 9e-4, "median": 1e-3, "most": 2e-3}
    energy = {
        "log": "ppk2.csv",
        "log_sha256": "f" * 64,
        "format": "Power Profiler Kit II",
        "marks": "D0",
        "volts": 3.3,
        "volts_measured": False,
        "samples_hz": 1e5,
        "inferences": 150,
        "joules": spread,
        "joules_above_idle": spread,
        "idle_watts": 0.01,
        "seconds": spread,
    }
    fields: Fields = {
        "plan": {},
        "model": _IDENTITY,
        "classes": ["no", "yes"],
        "accuracy": _rate(135, 150),
        "confusion": [[60, 10], [5, 75]],
        "confirmation": _confirmation(150),
        "oracle": {"inputs": 150, "bytes_compared": 300, "mismatched_inputs": 0},
        "firmware": measured.firmware.model_dump(),
        "latency": measured.latency.model_dump() | {"ticks_p99": 31_415_930},
    }
    counted = {"instructions": None, "cycles_estimated": None, "cycles_method": None, "interrupts": "masked"}
    counted |= {"tick_source": "cycle counter", "cycles_expected": 30_000_000, "cycles_expected_method": "a model"}
    real = {
        "firmware": fields["firmware"] | {"emulated": False},
        "latency": fields["latency"] | counted,
        "energy": energy,
    }
    return [_study("deployment", 150, (), **fields), _study("deployment", 150, (), **(fields | real))]


def _corruptions() -> list[Study]:
    labels = [0, 0, 1, 1]
    points = [
        {
            "corruption": name,
            "severity": severity,
            "level": ALL[name].levels[severity - 1],
            "answers": [0, 1, 1, 1],
            "accuracy": _rate(3, 4),
            "change": 12.5,
        }
        for name in ("gaussian-noise", "brightness")
        for severity in (1, 3)
    ]
    example = {"sample": 8, "corruption": "brightness", "severity": 3, "shape": [2, 2, 1]}
    return [
        _study(
            "corruptions",
            4,
            ("FEW_SAMPLES",),
            plan={"samples": 4, "corruptions": ["gaussian-noise", "brightness"], "severities": [1, 3]},
            model=_IDENTITY,
            data_range=_RANGE,
            classes=["no", "yes"],
            labels=labels,
            answers=labels,
            clean=_rate(4, 4),
            points=points,
            examples=[example | {"clean_base64": "AAECAw==", "corrupted_base64": "AQIDBA=="}],
            confirmation=_confirmation(20),
            firmware=make_result().firmware.model_dump(),
        )
    ]


def _sound() -> list[Study]:
    time = np.arange(16_000) / 16_000
    clean = np.rint(8_000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    clip = clean + np.rint(200 * np.sin(2 * np.pi * 1_000 * time)).astype(np.int16)
    wavs = [base64.b64encode(write_wav(each)).decode() for each in (clean, clip)]
    labels, fallen = [0, 0, 1, 1], [0, 1, 1, 1]

    def point(snr: float, attack: list[int], k: int) -> Fields:
        answers = {"noise": labels, "attack": attack, "doubled": attack}
        rates = {"robust": _rate(k, 4), "under_noise": _rate(4, 4)}
        return {"snr": snr, "least_snr": snr + 0.5, "queries": 9.5, "gradients": 8} | answers | rates

    example = {
        "sample": 8,
        "snr": 20.0,
        "clean_wav": wavs[0],
        "adversarial_wav": wavs[1],
        "features": base64.b64encode(FrontEnd(0.5, 1)(clip[None]).tobytes()).decode(),
        "measured": float(decibels(clip[None], clean[None])[0]),
        "prediction": 1,
    }
    return [
        _study(
            "sound",
            4,
            ("FEW_SAMPLES",),
            plan={"samples": 4, "snr": [40, 20]},
            model=_IDENTITY,
            scale=0.5,
            zero_point=1,
            classes=["no", "yes"],
            labels=labels,
            answers=labels,
            clean=_rate(4, 4),
            points=[point(40.0, labels, 4), point(20.0, fallen, 3)],
            examples=[example],
            confirmation=_confirmation(28),
            firmware=make_result().firmware.model_dump(),
        )
    ]


def _faults() -> list[Study]:
    drawn = (
        FaultDraw(seed=0, accuracy=Rate.of(80, 100)),
        FaultDraw(seed=1, accuracy=Rate.of(15, 20), ran_on="device", crashed=True, estimate=0.7),
    )
    chosen = FaultDraw(seed=None, accuracy=Rate.of(60, 100))
    points = [FaultPoint.of("random", flips, drawn) for flips in (1, 4)] + [FaultPoint.of("greedy", 4, (chosen,))]
    replay = {"board": "mps2-an386", "build_id": "c0ffee", "weight_bytes": 100, "images": 3, "inputs": 60}
    model = {
        "model": _IDENTITY,
        "weight_bits": 800,
        "formats": {"dual2": 100},
        "clean": _rate(90, 100),
        "points": [point.model_dump() for point in points],
        "tflm": [points[-1].model_dump()],
        "chosen": [{"symbol": "w1", "layer": 1, "byte": 9, "bit": 3}],
        "undefined": 1,
        "replay": replay | {"bytes_compared": 540, "mismatched_inputs": 0},
    }
    plan = {"samples": 100, "flips": [1, 4]}
    return [_study("faults", 100, ("UNDEFINED_FAULTS",), plan=plan, classes=2, models=[model])]


def _transfer() -> list[Study]:
    parties = [
        {"name": name, "form": form, "sha256": name * 64, "clean": _rate(95, 100)}
        for name, form in (("a", "float"), ("b", "int8"))
    ]
    cells = [
        {
            "eps_steps": eps,
            "source": source,
            "target": target,
            "accuracy": _rate(50, 100),
            "transferred": _rate(5, 9) if target else None,
        }
        for eps in (1, 4)
        for source in (0, 1)
        for target in (0, 1)
    ]
    pair = {"deployed": 1, "keeper": 0}
    apart = [pair | {"eps_steps": eps, "fooled": _rate(9, 90), "crafted_alone": _rate(3, 90)} for eps in (1, 4)]
    drift = {"samples": 100, "differing": 3, "indices": [7, 8, 9], "towards": [1, 2], "runner_up": [2, 1]}
    patch = {"wanted": 1, "row": 0, "column": 0, "height": 3, "width": 3, "fooled": _rate(2, 40)}
    return [
        _study(
            "transfer",
            100,
            (),
            plan={"samples": 100, "eps": [1, 4]},
            input_unit="pixel/255",
            eps_input=[0.004, 0.016],
            parties=parties,
            cells=cells,
            apart=apart,
            data_range=_RANGE,
            classes=["no", "yes"],
            drift=[pair | drift],
            triggered=[pair | patch],
        )
    ]


def _privacy() -> list[Study]:
    half = {"value": 0.5, "low": 0.4, "high": 0.6}
    leaks = [
        {
            "precision": "int8",
            "attack": attack,
            "shown": shown,
            "auc": half,
            "advantage": half,
            "at_one_permille": None,
            "at_one_percent": _rate(3, 1000),
            "curve": FALSE_RATES if shown != "labels" else [0.0] * len(FALSE_RATES),
        }
        for attack, shown in (("loss threshold", "logits"), ("offline LiRA", "scores"), ("label only", "labels"))
    ]
    model = {
        "model": _IDENTITY,
        "training_sha256": "e" * 64,
        "train_samples": 5000,
        "fits": [{"precision": "int8", "members": _rate(95, 100), "others": _rate(90, 100)}],
        "leaks": leaks,
        "control": half,
        "shadow_accuracy": 0.9,
        "confirmation": _confirmation(50),
        "quantizers": [{"bits": bits, "candidates": 9, "rate": half if bits > 2 else None} for bits in (8, 2)],
    }
    return [_study("privacy", 0, (), plan={}, members=1000, others=1000, models=[model])]


_MAKERS: dict[str, Callable[[], list[Study]]] = {
    "robustness": _robustness,
    "certify": _certify,
    "deployment": _deployment,
    "corruptions": _corruptions,
    "sound": _sound,
    "faults": _faults,
    "transfer": _transfer,
    "privacy": _privacy,
}
