"""The presets: the attacks that a plan runs, and their budgets, unless it names them itself."""

from __future__ import annotations

from typing import Literal

from tritguard.attack.catalog import Settings

Preset = Literal["quick", "standard", "full"]

# Weakest first. quick takes a minute for a small net and shows that everything runs; standard is for nightly runs;
# full is at least as strong as AutoAttack (Croce and Hein 2020, 2003.01690), for figures that are published.
PRESETS: dict[Preset, dict[str, Settings]] = {
    "quick": {
        "noise": {"tries": 10},
        "fgsm": {},
        "pgd": {"steps": 20, "restarts": 1},
        "apgd-ce": {"steps": 20, "restarts": 1},
        "patch": {"tried": 300, "places": 2, "steps": 15},
        "square": {"queries": 300},
        "hopskipjump": {"queries": 100, "probes": 30},
    },
    "standard": {
        "noise": {"tries": 50},
        "fgsm": {},
        "pgd": {"steps": 40, "restarts": 1},
        "apgd-ce": {"steps": 50, "restarts": 1},
        "apgd-t": {"steps": 50, "targets": 3},
        "cw": {"steps": 50, "searches": 3},
        "two-step": {"gradients": 40, "queries": 200},
        "patch": {"tried": 1000, "places": 4, "steps": 25},
        "square": {"queries": 1000},
        "hopskipjump": {"queries": 1000},
    },
    "full": {
        "noise": {"tries": 100},
        "fgsm": {},
        "pgd": {"steps": 100, "restarts": 2},
        "apgd-ce": {"steps": 100, "restarts": 2},
        "apgd-dlr": {"steps": 100, "restarts": 2},
        "apgd-t": {"steps": 100, "targets": 9},
        "cw": {"steps": 100, "searches": 5},
        "two-step": {"gradients": 100, "queries": 500},
        "patch": {"tried": 5000, "places": 8, "steps": 50},
        "square": {"queries": 5000},
        "zoo": {"queries": 5000},
        "boundary": {"queries": 5000},
        "hopskipjump": {"queries": 5000},
    },
}
