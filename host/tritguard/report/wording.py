"""How numbers and foreign strings are written, in the terminal and in HTML alike."""

from __future__ import annotations

from collections.abc import Sequence

from tritguard.attack.norms import NORMS
from tritguard.campaign.runs import Throughput
from tritguard.data.dataset import PIXEL_UNIT
from tritguard.evaluate.limits import DataRange
from tritguard.evaluate.measurement import Latency
from tritguard.evaluate.robustness.figures import Doubling, Growth
from tritguard.evaluate.study import Confirmation, Rate, Status, Study

_STATUS_MEANING: dict[Status, str] = {
    "valid": "None of this run's checks failed. The figures may be quoted together with the threat model.",
    "degraded": "The figures stand with reservations. Quote them only together with the codes below.",
    "invalid": "This run failed its own checks. It has no accuracy that may be quoted.",
}
_VALID_STUDY = "None of this run's checks failed. The figures may be quoted together with how they were measured."

GOAL_MEANING = {
    "untargeted": "any wrong class counts",
    "targeted": "only the one class drawn for each sample counts, no other wrong one",
}

LIVE_MEANING = "every query of the attacks was an inference on the device; the twin only confirmed the bytes"

FEATURE_MEANING = "the attacks change features, not recordings; that a sound has such features is not shown"


def status_meaning(result: Study) -> str:
    """What a result's status says about its figures; not every study has a threat model."""
    alone = result.status == "valid" and "threat_model" not in type(result).model_fields
    return _VALID_STUDY if alone else _STATUS_MEANING[result.status]


def norm_meaning(norm: str) -> str:
    """What a norm measures, in a few words."""
    return NORMS[norm].meaning


def percent(share: float) -> str:
    """Write a share from 0 to 1 as a percentage."""
    return f"{100 * share:.1f} %"


def interval(rate: Rate) -> str:
    """Write the 95 % interval of a rate."""
    return f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %"


def of(rate: Rate) -> str:
    """Write the counts behind a rate, which show what rounding hides."""
    return f"{rate.k:,} of {rate.n:,}"


def count(number: float) -> str:
    """Write a count, or a mean of counts, with thousands separated."""
    return f"{number:,.1f}".removesuffix(".0")


def line(seen: Confirmation) -> str:
    """Write how many of the replayed inputs went over which line of an emulated board."""
    return f"bulk line, {count(seen.bulk_inputs)}; {count(seen.uart_again)} of them also over the UART: the same bytes"


def way(seen: Confirmation) -> str:
    """Write over which line the replayed inputs were answered, to follow the word "answered"."""
    if not seen.bulk_inputs:
        return "over the serial port"
    also = "also " if seen.bulk_inputs == seen.inputs else ""
    serial = seen.inputs - seen.bulk_inputs + seen.uart_again
    return f"over the emulator's bulk line, {count(serial)} of them {also}over the serial port,"


def lent(seen: Confirmation) -> str:
    """Write how much of a confirmation boards of other machines did."""
    boards = "1 board" if seen.lent_boards == 1 else f"{count(seen.lent_boards)} boards"
    return f"{boards} of other machines answered {count(seen.lent_inputs)} of the inputs"


def quarantined(seen: Confirmation) -> str:
    """Name the boards whose work others took over, and what they did; nothing if there are none."""
    return "; ".join(f"{one.board}: {one.reason}" for one in seen.quarantined)


def real(number: float) -> str:
    """Write a physical quantity to four significant digits."""
    return f"{number:.4g}"


def rough(number: float) -> str:
    """Write a physical quantity to two significant digits, where room is short."""
    return f"{number:.2g}" if number < 100 else f"{number:.0f}"


def steps(number: int) -> str:
    """Write a number of steps of the int8 input grid."""
    return f"{number:,} step" if number == 1 else f"{number:,} steps"


def bound(number: int, norm: str) -> str:
    """Write an eps in what the norm counts."""
    unit = NORMS[norm].unit
    return f"{number:,} {unit}" if number == 1 else f"{number:,} {unit}s"


def in_steps(norm: str) -> bool:
    """Whether the norm counts steps of the int8 input grid, which have a size in input units."""
    return NORMS[norm].unit == "step"


def bounds_of(norm: str) -> str:
    """Name what the norm counts, for the heads of columns."""
    return "int8 steps" if in_steps(norm) else f"{NORMS[norm].unit}s"


def with_input_units(eps_steps: int, eps_input: float, norm: str) -> str:
    """Write an eps in what the norm counts, and in input units where it counts steps."""
    equal = f" = {real(eps_input)} in input units" if in_steps(norm) else ""
    return f"{bound(eps_steps, norm)}{equal}"


def kib(number: int) -> str:
    """Write a number of bytes where room is short."""
    return f"{number / 1024:.1f} KiB" if number >= 1024 else f"{number} B"


def millions(number: int) -> str:
    """Write a large count where room is short."""
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k" if number >= 1e3 else str(number)


def in_pixels(unit: str) -> bool:
    """Whether 1.0 is 255 steps of a pixel, in which case people write bounds as 8/255."""
    return unit == PIXEL_UNIT


def eps(number: float, unit: str) -> str:
    """Write an eps in input units as people do: in 255ths of a pixel's range where the unit is that of pixels."""
    return f"{number * 255:.4g}/255" if in_pixels(unit) else f"{real(number)} in input units ({unit})"


def eps_list(numbers: Sequence[float], unit: str) -> str:
    """Write several eps; see `eps`. The unit is named once."""
    if in_pixels(unit):
        return ", ".join(eps(number, unit) for number in numbers)
    return f"{', '.join(map(real, numbers))} in input units ({unit})"


def size(number: int) -> str:
    """Write a number of bytes, and what that is in KiB."""
    return f"{number:,} B ({number / 1024:.1f} KiB)" if number >= 1024 else f"{number:,} B"


def megahertz(hertz: int) -> str:
    """Write a clock frequency."""
    return f"{hertz / 1e6:g} MHz"


def parameter(value: float | int | str) -> str:
    """Write a hyper-parameter; floats to six significant digits, more than any setting of an attack has."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def throughput(effort: Throughput) -> str:
    """Write how fast the attacks were, over all processes together."""
    seconds = max(effort.seconds, 1e-9)
    return f"{effort.queries / seconds:,.0f} queries and {effort.gradients / seconds:,.0f} gradients a second"


def refused(effort: Throughput) -> str:
    """Say how many kept jobs were not used, and why; nothing if none was refused."""
    if not effort.refused:
        return ""
    what = "job kept of an earlier run was" if effort.refused == 1 else "jobs kept of earlier runs were"
    why = "not written by this user's tritguard on this machine, or changed or damaged since"
    return f"{count(effort.refused)} {what} not used but crafted again: {why}"


def doubled(tries: Sequence[Doubling]) -> str:
    """Say what an attack with twice its steps broke, by eps; there is at least one."""
    found = ", ".join(f"{one.broken} of {one.tried} at eps {one.eps_steps}" for one in tries)
    return f"{tries[0].attack} with twice its steps, {count(tries[0].steps)}, on what held: breaks {found}"


def grown(one: Growth) -> str:
    """Say how a black box that breaks more than gradients do was given more queries."""
    gains = ", ".join(map(count, one.broken)) or "none"
    end = "then it gained no more" if one.settled else "it still gains"
    budgets = f"{count(one.queries[0])} to {count(one.queries[-1])} queries"
    return f"{one.attack} beats gradients at eps {one.eps_steps}: {budgets} broke another {gains} samples, {end}"


def data_range(found: DataRange | None) -> str:
    """Say to which values inputs keep."""
    return f"Range of the data{'' if found is None else ', to which all inputs keep'}: {values(found)}."


def values(found: DataRange | None) -> str:
    """Write the values to which inputs keep."""
    if found is None:
        return "not known, inputs may take every value of the int8 grid"
    return f"{real(found.low)} to {real(found.high)}, {found.low_step} to {found.high_step} in int8 steps"


def class_name(classes: Sequence[str], label: int) -> str:
    """Name a class; by its number if the result has no name for it."""
    return (classes[label] if 0 <= label < len(classes) else "") or f"class {label}"


def ranges(indices: Sequence[int]) -> str:
    """Write indices in their order, with consecutive ones joined: (0, 1, 2, 7) is '0-2, 7'."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


_SHORT_OPS = {"CONV_2D": "conv", "DEPTHWISE_CONV_2D": "depthwise", "FULLY_CONNECTED": "dense"}


def short_op(op: str) -> str:
    """Shorten the name of an op for narrow columns."""
    return _SHORT_OPS.get(op, op.lower().removesuffix("_2d"))


_INTERRUPTS = {
    "taken off": "only the serial line interrupts it, whose time is taken off",
    "masked": "the framework's interrupts were masked while it ran",
    "counted": "the framework's interrupts ran meanwhile, and their time is in it",
}


def timing(latency: Latency) -> str:
    """Say how a real board's time was measured, in one line without a full stop; empty if the board did not say."""
    parts = []
    if latency.cycles_measured is not None:
        parts.append(f"{count(latency.cycles_measured)} cycles, measured by the {latency.tick_source}")
    elif latency.tick_source is not None:
        parts.append(f"measured in {latency.tick_source}, because the core counts no cycles")
    if latency.cycles_measured is not None and latency.cycles_expected is not None:
        times = real(latency.cycles_measured / latency.cycles_expected)
        expected = f"{count(latency.cycles_expected)} of the static estimate"
        parts.append(f"{times} times the {expected} ({latency.cycles_expected_method}, without flash wait states)")
    if latency.interrupts is not None:
        parts.append(_INTERRUPTS[latency.interrupts])
    return "; ".join(parts)
