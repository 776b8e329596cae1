"""The model card: what was trained, on what, how, and what came of it."""

from __future__ import annotations

from tritguard.data import Dataset
from tritguard.train.config import TrainRecord

_FORMS = {
    "float": "float: the weights behind the quantizer, nothing rounded",
    "int8": "int8: the same weights and the activations rounded to int8",
    "ternary": "ternary: as it ships, ternary weights and int8 activations",
}


def model_card(record: TrainRecord, dataset: Dataset, pgd: str) -> str:
    """The card as Markdown.

    Args:
        record: of the training.
        dataset: what it was trained on.
        pgd: what the quick PGD was: samples and steps.
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
        "shows whether a training worked; it is no measure of robustness. That is `tritguard attack`, on the device.",
        "",
        "## Data",
        f"{record.data_name}, {record.train_samples:,} training samples of {len(dataset.classes)} classes, input unit "
        f"{dataset.input_unit}, licence {dataset.licence}, SHA-256 `{record.data_sha256}`.",
        "",
        "## Loss",
        _loss(record),
        "",
        f"Its mean over the last epoch: {record.loss:.4f}. Curves: curve.svg, logs/ (TensorBoard).",
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
    """Where a stage began; what the stages before it took is on their own cards."""
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
        terms.append(f"{jacobian.layers:g}/2 mean of those with respect to the inputs of the later layers")
    return " + ".join(terms) + "."


def _flat(table: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for key, value in table.items():
        flat += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return flat
