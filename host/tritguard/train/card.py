"""Writes the model card: what was trained, on which data, how, and with what result."""

from __future__ import annotations

from tritguard.data import Dataset
from tritguard.train.config import TrainConfig, TrainRecord

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
        *_teacher(record),
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
        "## Findings",
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


def _teacher(record: TrainRecord) -> list[str]:
    teacher = record.config.teacher.model
    return [f"Its teacher was `{teacher}` (SHA-256 `{record.teacher_sha256}`)."] if teacher else []


def _loss(record: TrainRecord) -> str:
    jacobian, teacher = record.config.jacobian, record.config.teacher
    terms = _of_samples(record.config)
    if teacher.model:
        divergence = f"divergence from the teacher at temperature {teacher.temperature:g}"
        terms = [f"{1 - teacher.weight:g} ({' + '.join(terms)})", f"{teacher.weight:g} {divergence}"]
    if jacobian.output:
        terms.append(f"{jacobian.output:g}/2 squared norm of the logits' Jacobian with respect to the input")
    if jacobian.layers:
        terms.append(f"{jacobian.layers:g}/2 mean of the same with respect to the inputs of the later layers")
    return " + ".join(terms) + "."


def _of_samples(config: TrainConfig) -> list[str]:
    """The terms that compare the outputs with the labels, or with the outputs on clean samples."""
    attack, smoothing = config.adversarial, config.label_smoothing
    entropy = "cross-entropy" + (f" with {smoothing:g} of the labels smoothed" if smoothing else "")
    if attack.attack == "none":
        return [entropy]
    samples = f"{attack.attack.upper()} samples (eps {attack.eps:g} steps of the int8 input grid, "
    samples += f"{attack.steps_in_effect} gradients)"
    if attack.loss == "trades":
        return [entropy, f"{attack.beta:g} divergence of the outputs on {samples} from those on clean ones (TRADES)"]
    if attack.loss == "mart":
        return [f"boosted cross-entropy on {samples}", f"{attack.beta:g} weighted divergence from clean ones (MART)"]
    clean = [f"{1 - attack.weight:g} {entropy}"] if attack.weight < 1 else []
    return [*clean, f"{attack.weight:g} {entropy} on {samples}"]


def _flat(table: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for key, value in table.items():
        flat += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return flat
