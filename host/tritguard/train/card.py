"""Writes the model card: what was trained, on which data, how, and with what result."""

from __future__ import annotations

from tritguard.data import Dataset
from tritguard.train.config import TrainRecord

_FORMS = {
    "float": "float: the float weights behind the quantizer, with nothing rounded",
    "int8": "int8: the same weights and activations, rounded to int8",
    "ternary": "ternary: as it ships, ternary weights and int8 activations",
}


def model_card(record: TrainRecord, dataset: Dataset, pgd: str) -> str:
    """The model card as Markdown text.

    Args:
        record: the record of the training.
        dataset: the data set it was trained on.
        pgd: the settings of the quick PGD: its samples and steps.
    """
    config = record.config
    eps = f"{config.adversarial.eps:g} steps of the int8 input grid"
    rows = [
        f"| {_FORMS[name]} | {accuracy.clean:.2%} | {accuracy.pgd:.2%} |"
        for name, accuracy in record.evaluation.items()
    ]
    settings = [f"| `{key}` | {value} |" for key, value in _flat(config.model_dump(mode="json", exclude={"data"}))]
    findings = [f"- {finding}" for finding in record.findings] or ["- none"]
    lines = [
        f"# {config.net} on {record.data_name}",
        "",
        f"{record.parameters:,} parameters, {config.epochs} epochs ({record.steps:,} steps) in "
        f"{record.seconds / 3600:.2f} hours on {record.hardware}.",
        *_start(record),
        "",
        "## Accuracy",
        "| form | clean | quick PGD |",
        "|---|---|---|",
        *rows,
        "",
        f"Clean: {record.test_samples:,} test samples. Quick PGD: {pgd}, L-infinity, eps {eps}, one random start. It",
        "shows whether the training worked. Robustness is measured by `tritguard attack`, on the device.",
        "",
        "## Data",
        f"{record.data_name}, {record.train_samples:,} training samples of {len(dataset.classes)} classes, input unit "
        f"{dataset.input_unit}, licence {dataset.licence}, SHA-256 `{record.data_sha256}`.",
        "",
        "## Loss",
        _loss(record),
        "",
        f"Its mean over the last epoch is {record.loss:.4f}. Curves: curve.svg, logs/ (TensorBoard).",
        "",
        "## Ternary weights",
        *findings,
        "",
        "## Settings",
        "| | |",
        "|---|---|",
        *settings,
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in record.versions.items()) + ".",
        "",
    ]
    return "\n".join(lines)


def _start(record: TrainRecord) -> list[str]:
    """The weights from which the training started, if an earlier one left them; that one has a card of its own."""
    start = record.config.start
    return [f"It started from the weights of `{start}` (SHA-256 `{record.start_sha256}`)."] if start else []


def _loss(record: TrainRecord) -> str:
    attack, jacobian = record.config.adversarial, record.config.jacobian
    terms = []
    if attack.attack == "none" or attack.weight < 1:
        terms.append("cross-entropy" if attack.attack == "none" else f"{1 - attack.weight:g} cross-entropy")
    if attack.attack != "none":
        terms.append(
            f"{attack.weight:g} cross-entropy on {attack.attack.upper()} samples (eps {attack.eps:g} steps of the int8 "
            f"input grid, {attack.steps_in_effect} gradients)"
        )
    if jacobian.output:
        terms.append(f"{jacobian.output:g}/2 squared norm of the logits' Jacobian with respect to the input")
    if jacobian.layers:
        terms.append(f"{jacobian.layers:g}/2 mean of the same with respect to the inputs of the later layers")
    return " + ".join(terms) + "."


def _flat(table: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for key, value in table.items():
        flat += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return flat
