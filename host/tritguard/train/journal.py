"""Shows a running training: writes event files for TensorBoard and draws its learning curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tritguard.files import write_whole
from tritguard.train.backend import tf

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 640, 200, 60, 30, 50
_COLOURS = ("#1b3a5c", "#b5442e", "#3f6f4f", "#8a6d1d", "#6b4a7a")
_PERCENT = "accuracy"

History = Sequence[dict[str, float]]


class EventLog:
    """Writes scalars for TensorBoard, without needing the package tensorboard.

    Args:
        folder: where the event files go; nothing is written before the first value.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None
        plugin = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        self._metadata = tf.compat.v1.SummaryMetadata(plugin_data=plugin, data_class=1)  # 1: DATA_CLASS_SCALAR

    def write(self, step: int, values: dict[str, float]) -> None:
        """Add a point to the curve of each value. Step 1 first removes the event files of an earlier training."""
        if step == 1:
            for old in self._folder.glob("events.out.tfevents.*"):
                old.unlink()
        self._writer = self._writer or tf.summary.create_file_writer(str(self._folder))
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step=step, metadata=self._metadata)
        self._writer.flush()


def draw_curves(path: Path, history: History) -> None:
    """Write an SVG with the loss and its parts over the epochs, and below it the accuracies."""
    curves = {name: [epoch[name] for epoch in history] for name in history[0]}
    losses = _panel({name: curve for name, curve in curves.items() if not name.endswith(_PERCENT)}, 0)
    accuracies = {name: curve for name, curve in curves.items() if name.endswith(_PERCENT)}
    accuracy = _panel(accuracies, _HEIGHT + _GAP, top=1.0)
    height = 2 * _HEIGHT + _GAP + 2 * _TOP
    body = "\n".join([*losses, *accuracy])
    write_whole(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n{body}\n</svg>\n',
    )


def _panel(curves: dict[str, list[float]], offset: float, top: float | None = None) -> list[str]:
    """Axes, curves and legend of a panel `offset` below the top. Its y axis ends at `top` or the largest value."""
    highest = top or max((max(values) for values in curves.values()), default=0.0) or 1.0
    epochs = max(len(values) for values in curves.values())
    floor, right = offset + _TOP + _HEIGHT, _WIDTH - 20

    def point(index: int, value: float) -> str:
        x = _LEFT + (right - _LEFT) * (index + 1) / epochs
        return f"{x:.1f},{floor - _HEIGHT * value / highest:.1f}"

    parts = [
        f'<path d="M{_LEFT},{offset + _TOP}V{floor}H{right}" fill="none" stroke="#444"/>',
        f'<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">0</text>',
        f'<text x="{_LEFT - 6}" y="{offset + _TOP + 8}" text-anchor="end">{highest:.3g}</text>',
        f'<text x="{right}" y="{floor + 16}" text-anchor="end">epoch {epochs}</text>',
    ]
    for number, (name, values) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(point(index, value) for index, value in enumerate(values))
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{_LEFT + 10 + 120 * number}" y="{offset + _TOP - 8}" fill="{colour}">'
            f"{name.replace('_', ' ')}: {values[-1]:.4g}</text>",
        ]
    return parts
