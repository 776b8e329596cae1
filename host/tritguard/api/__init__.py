"""The road as plain functions: they take paths and records, return typed results, raise TritguardError, print nothing.

The command line is a thin layer over this package. The module that a name comes from is imported when the name is first
used, so a command waits for no more than it needs; TensorFlow is imported when a function first needs it.
"""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritguard.api.arrays import convert_to_arrays
    from tritguard.api.comparing import compare
    from tritguard.api.evidence_folder import Repetition, evidence, repeat, verify
    from tritguard.api.firmware import Engine, build, native_engine, tflm_engine
    from tritguard.api.flashing import flash
    from tritguard.api.models import convert, load_data, train
    from tritguard.api.proposing import fit
    from tritguard.api.reporting import report
    from tritguard.api.road import RunConfig, RunSettings, Watcher, read_run_config, run
    from tritguard.api.schemas import schema, write_schemas
    from tritguard.api.self_test import selftest
    from tritguard.api.start import example, examples, init
    from tritguard.api.studies.certify import certify
    from tritguard.api.studies.corruptions import corruptions
    from tritguard.api.studies.deployment import energy, evaluate
    from tritguard.api.studies.faults import faults
    from tritguard.api.studies.privacy import privacy
    from tritguard.api.studies.robustness import attack
    from tritguard.api.studies.sound import sound
    from tritguard.api.studies.transfer import transfer
    from tritguard.boards import Board, available_boards, load_board
    from tritguard.build import Budget, Build, open_build
    from tritguard.data import Dataset
    from tritguard.device import Bench, Device, open_device, read_bench
    from tritguard.emit import Bundle, open_bundle
    from tritguard.errors import TritguardError
    from tritguard.evaluate.certify.result import CertifyPlan, CertifyResult
    from tritguard.evaluate.corruptions.result import CorruptionsPlan, CorruptionsResult
    from tritguard.evaluate.deployment.result import DeploymentPlan, DeploymentResult, Energy
    from tritguard.evaluate.faults.result import FaultPlan, FaultResult
    from tritguard.evaluate.privacy.result import PrivacyPlan, PrivacyResult
    from tritguard.evaluate.privacy.study import Training, open_training
    from tritguard.evaluate.registry import read_study
    from tritguard.evaluate.robustness.plan import Plan
    from tritguard.evaluate.robustness.result import RobustnessResult
    from tritguard.evaluate.selftest import Selftest, read_selftest
    from tritguard.evaluate.sound.result import SoundPlan, SoundResult
    from tritguard.evaluate.study import Study
    from tritguard.evaluate.transfer.result import TransferPlan, TransferResult
    from tritguard.fitting import FitBudget, Proposals
    from tritguard.predictor import Outputs, Predictor
    from tritguard.profile import profile
    from tritguard.progress import Progress, Stages
    from tritguard.report.comparison import Comparison
    from tritguard.report.gates import judge
    from tritguard.train import TrainConfig, TrainRecord
    from tritguard.twin import Twin

__all__ = [
    "Bench",
    "Board",
    "Budget",
    "Build",
    "Bundle",
    "CertifyPlan",
    "CertifyResult",
    "Comparison",
    "CorruptionsPlan",
    "CorruptionsResult",
    "Dataset",
    "DeploymentPlan",
    "DeploymentResult",
    "Device",
    "Energy",
    "Engine",
    "FaultPlan",
    "FaultResult",
    "FitBudget",
    "Outputs",
    "Plan",
    "Predictor",
    "PrivacyPlan",
    "PrivacyResult",
    "Progress",
    "Proposals",
    "Repetition",
    "RobustnessResult",
    "RunConfig",
    "RunSettings",
    "Selftest",
    "SoundPlan",
    "SoundResult",
    "Stages",
    "Study",
    "TrainConfig",
    "TrainRecord",
    "Training",
    "TransferPlan",
    "TransferResult",
    "TritguardError",
    "Twin",
    "Watcher",
    "attack",
    "available_boards",
    "build",
    "certify",
    "compare",
    "convert",
    "convert_to_arrays",
    "corruptions",
    "energy",
    "evaluate",
    "evidence",
    "example",
    "examples",
    "faults",
    "fit",
    "flash",
    "init",
    "judge",
    "load_board",
    "load_data",
    "native_engine",
    "open_build",
    "open_bundle",
    "open_device",
    "open_training",
    "privacy",
    "profile",
    "read_bench",
    "read_run_config",
    "read_selftest",
    "read_study",
    "repeat",
    "report",
    "run",
    "schema",
    "selftest",
    "sound",
    "tflm_engine",
    "train",
    "transfer",
    "verify",
    "write_schemas",
]

if not TYPE_CHECKING:  # a type checker would take it for an answer to every name

    def __getattr__(name: str) -> object:
        """What a public name stands for, from the module that the imports above take it from."""
        if name not in _homes():
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(_homes()[name]), name)
        return found


def __dir__() -> list[str]:
    return __all__


@cache
def _homes() -> dict[str, str]:
    """The module of each public name, as read from the imports above, which only type checkers carry out."""
    imports = [node for node in ast.walk(ast.parse(Path(__file__).read_bytes())) if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names if alias.name in __all__}
