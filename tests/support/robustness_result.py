"""A robustness result with every field set, for tests of reports and of the registry of studies."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.study import Rate

N = 300
EPS = {1: 104, 2: 18, 4: 2, 8: 0}
RAN_AT = EPS | {64: 0}
CLASSES = 12
LABELS = [place % CLASSES for place in range(N)]
WRONG = 24  # the first samples are wrong on the clean input; of the others the first ones hold
ATTACKS = (("PGD", "white box", 0, 40.0), ("Noise", "baseline", 150, 10.0))  # the second leaves so many more


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
    rows = []
    for attack, kind, weaker, queries in ATTACKS:
        for eps, correct in RAN_AT.items():
            parameters = {"steps": 40, "restarts": 2, "step size, steps": 2.5 * eps / 40, "loss": "margin"}
            rows.append(
                {
                    "attack": attack,
                    "kind": kind,
                    "eps_steps": eps,
                    "robust": Rate.of(correct + weaker, N).model_dump(),
                    "parameters": parameters,
                    "queries_per_sample": queries,
                    "gradients_per_sample": 80.5,
                    "seconds": 12.25,
                }
            )
    return rows


def sample_table() -> dict[str, Any]:
    """What the figures of `make_result` are counted from."""
    clean = [(label + 1) % CLASSES if place < WRONG else label for place, label in enumerate(LABELS)]
    attacks = [
        {"attack": attack, "eps_steps": eps, "broken": held(correct + weaker).translate({48: 49, 49: 48})}
        for attack, _, weaker, _ in ATTACKS
        for eps, correct in RAN_AT.items()
    ]
    return {"labels": LABELS, "clean": clean, "attacks": attacks, "doubled": None}


def held(count: int) -> str:
    """A digit for each sample, 1 for those that hold if so many do."""
    return "0" * WRONG + "1" * count + "0" * (N - WRONG - count)


def make_result(**changes: Any) -> RobustnessResult:
    """A realistic result of a keyword-spotting net on an emulated board; `changes` replace whole fields."""
    curve = [{"eps_steps": e, "eps_input": e * 0.584, "robust": Rate.of(k, N).model_dump()} for e, k in RAN_AT.items()]
    fields: dict[str, Any] = {
        "status": "valid",
        "issues": [],
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
        },
        "pictures": [picture((49, 10, 1), eps=1, seed=s) for s in range(5)],
    }
    return RobustnessResult.model_validate(fields | changes)
