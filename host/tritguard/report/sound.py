"""The report of a study of attacks on sound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tritguard.evaluate.sound.result import SoundExample, SoundPoint, SoundResult
from tritguard.evaluate.study import Rate
from tritguard.report.lines import Axis, Chart, Point, chart
from tritguard.report.pictures import heat, png
from tritguard.report.study import Facts, Figure, Grid, Page, Section, SectionReport
from tritguard.report.wording import class_name, count, interval, line, of, percent

_WINDOW, _STRIDE = 512, 128
_BELOW = 80.0  # dB under the loudest value of the recording, where the scale of spectrograms begins
_WIDE, _HIGH = 360, 128
_READING = (
    "The perturbation is added to the recording itself, rounded to 16 bits. Its bound is how many dB its energy lies "
    "below the recording's. "
    "The features that the device is given are computed anew from those 16 bits; accuracy is the share of recordings "
    "that are right as they are and under all that was tried at this bound and at quieter ones. The sound reaches the "
    "front end as it is: no loudspeaker, no room and no microphone lie between."
)

_PADDING = {
    True: "The perturbation may sound in the silence too that fills a recording to one second.",
    False: "The perturbation keeps to the recording; the silence that fills it to one second stays as it is.",
}


def content(result: SoundResult) -> Page:
    """Lay out what the report shows."""
    firmware = result.firmware
    board = f"{firmware.board_name} ({firmware.core}, {'emulated' if firmware.emulated else 'real'})"
    lead = f"{count(len(result.labels))} recordings of {result.provenance.data_name}, attacked as sound, on {board}."
    sections = [
        Section("Accuracy against the perturbation", _READING, _chart(result), _bounds(result), "Intervals: Wilson."),
        _effort(result),
        *(_heard(result, example) for example in result.examples),
        _bytes(result),
    ]
    models = ((result.model.name, result.model.model_sha256),)
    return Page(f"{result.model.name} under attacks on sound", lead, sections, models)


def _chart(result: SoundResult) -> Chart:
    def drawn(rate: Rate, snr: float) -> Point:
        return Point(-snr, rate.value, rate.low, rate.high)

    points = result.points
    first, last = -points[0].snr, -points[-1].snr
    chance = 1 / len(result.classes)
    return chart(
        "Accuracy against the energy of the perturbation",
        [
            ("white noise", [drawn(point.under_noise, point.snr) for point in points]),
            ("worst case", [drawn(point.robust, point.snr) for point in points]),
        ],
        Axis("perturbation, dB of the signal", first, max(last, first + 1), tuple(-point.snr for point in points)),
        Axis("accuracy, %", 0, 1, (0, 0.25, 0.5, 0.75, 1), percent=True),
        guide=("guessing", ((first, chance), (max(last, first + 1), chance))),
    )


def _bounds(result: SoundResult) -> Grid:
    def row(name: str, noise: Rate, robust: Rate) -> tuple[str, ...]:
        return name, percent(noise.value), percent(robust.value), of(robust), interval(robust)

    rows = [row("as it is", result.clean, result.clean)]
    rows += [row(f"{point.snr:g}", point.under_noise, point.robust) for point in result.points]
    return Grid(("signal over perturbation, dB", "white noise", "worst case", "correct", "95 %"), tuple(rows))


def _effort(result: SoundResult) -> Section:
    def row(point: SoundPoint) -> tuple[str, ...]:
        least = "" if point.least_snr is None else f"{point.least_snr:.2f}"
        gained = str(point.gained(result.labels))
        return f"{point.snr:g}", least, count(point.gradients), count(point.queries), gained

    plan = result.plan
    note = (
        f"Waveform attack: {plan.steps} steps from {plan.restarts} start{'' if plan.restarts == 1 else 's'}, and twice "
        f"the steps on what held, which counts in the worst case; {plan.noise} draws of white noise. The least dB "
        "found is computed from the 16-bit samples of all clips. "
        f"{_PADDING[plan.padding]}"
    )
    columns = ("bound, dB", "least dB found", "gradients", "queries", "twice the steps broke")
    return Section("The attack", grid=Grid(columns, tuple(map(row, result.points))), note=note)


def _heard(result: SoundResult, example: SoundExample) -> Section:
    """A recording and its adversarial clip to listen to, and what lies between them to look at."""
    clean, adversarial = example.clips().astype(np.float64)
    label = class_name(result.classes, result.labels[result.provenance.sample_indices.index(example.sample)])
    said = class_name(result.classes, example.prediction)
    top = _decibels(clean).max()
    figures = tuple(
        Figure(
            image=png(heat(_decibels(sound), top - _BELOW, top), (_WIDE, _HIGH)),
            width=_WIDE,
            height=_HIGH,
            alternative=f"Spectrogram of {what}, sample {example.sample}: one second across, 0 to 8 kHz upwards",
            caption=caption,
            sound="" if wav is None else f"data:audio/wav;base64,{wav}",
        )
        for sound, what, caption, wav in (
            (clean, "the recording", f"the recording: {label}", example.clean_wav),
            (adversarial, "the adversarial clip", f"adversarial: {said}", example.adversarial_wav),
            (adversarial - clean, "the perturbation", "the perturbation alone, on the same scale", None),
        )
    )
    heading = f"Sample {example.sample} at {example.snr:g} dB: {label} becomes {said}"
    text = f"The two sounds are {example.measured:.2f} dB apart; the device was given the features of the second."
    return Section(heading, text, figures=figures)


def _decibels(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64[257, frames]: the spectrogram of float64[samples] in dB, high frequencies first."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::_STRIDE]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW)))
    return np.asarray(20 * np.log10(spectrum.T[::-1] + 1e-3))


def _bytes(result: SoundResult) -> Section:
    seen = result.confirmation
    row = (count(seen.inputs), count(seen.bytes_compared), count(seen.mismatched_inputs))
    note = f"The features of every clip; scores and int32 logits. Line: {line(seen)}." if seen.bulk_inputs else ""
    grid = Grid(("inputs on the device", "bytes compared with the twin's", "inputs that differ"), (row,), left=0)
    return Section("The device's bytes", grid=grid, note=note)


def facts(result: SoundResult) -> Facts:
    """Say what was found, in a sentence each."""
    points = [f"{percent(point.robust.value)} at {point.snr:g} dB" for point in result.points]
    return {
        "robust": f"accuracy under attacks on the waveform, by the signal's energy over the perturbation's: "
        f"{', '.join(points)}; {percent(result.clean.value)} as it is ({of(result.clean)})"
    }


REPORT = SectionReport(content, facts)
