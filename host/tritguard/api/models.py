"""From data to a model's bundle: load a data set, train, convert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tritguard import __version__
from tritguard.api.source import calibration_of, golden, title
from tritguard.boards import CoreClass, core_class, known_cores
from tritguard.data import Dataset, load_dataset
from tritguard.data.dataset import read_samples
from tritguard.emit import Bundle, open_bundle, write_bundle
from tritguard.emit.bundle import MANIFEST
from tritguard.emit.golden import golden_of
from tritguard.errors import BadInputError, about
from tritguard.files import check_writable
from tritguard.graph.formats.registry import WeightFormat
from tritguard.progress import Progress, Stages, in_one_piece, silent
from tritguard.records import from_json
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.config import MODEL, RECORD
from tritguard.twin import verify_against_oracle

CORE = "cortex-m4"


def load_data(source: str | Path, progress: Progress | None = None) -> Dataset:
    """Load a data set by its name, or from an `.npz`, an official archive or a folder of sound files.

    Args:
        source: `fashion-mnist`, `cifar-10` or `speech-commands`, which are downloaded once, or a path.
        progress: called with (done, in all) while a set is downloaded or read.

    Raises:
        BadInputError: there is no such data set, or it cannot be read.
    """
    return load_dataset(str(source), progress)


def train(
    config: TrainConfig,
    data: Dataset,
    out: str | Path,
    progress: Progress | None = None,
    *,
    show_loss: Callable[[float], None] | None = None,
) -> TrainRecord:
    """Train a network and write it to a folder that `convert` takes; a training interrupted there goes on.

    Args:
        config: the settings; its `data` is only recorded, `data` is what it is trained on.
        data: samples [n, height, width, channels], uint8 pixels or float32, with a training set.
        out: the folder; made where it is missing.
        progress: called with (steps done, steps in all).
        show_loss: called after each step with the mean loss of the epoch so far.

    Raises:
        BadInputError: see `tritguard.train.fit.train`.
    """
    from tritguard.train import fit  # noqa: PLC0415 - imports TensorFlow

    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    return fit.train(config, data, folder, progress, show_loss=show_loss)


def earlier_training(config: TrainConfig, data: Dataset, folder: str | Path) -> TrainRecord | None:
    """The record of a finished training in this folder, if it had these settings, this data and this version.

    Raises:
        BadInputError: the folder holds a record that cannot be read.
    """
    record = Path(folder) / RECORD
    if not record.is_file() or not record.with_name(MODEL).is_file():
        return None
    from tritguard.train.start import start_digest  # noqa: PLC0415 - h5py comes with TensorFlow

    earlier = from_json(TrainRecord, record, fix="remove the folder to train anew")
    same = earlier.config == config and earlier.start_sha256 == start_digest(config.start)
    same &= earlier.data_sha256 == data.sha256 and earlier.versions["tritguard"] == __version__
    return earlier if same else None


def kernels_for(core: str) -> CoreClass:
    """The class of a core by the compiler's name for it (`cortex-m4`).

    Raises:
        BadInputError: there are no kernels for this core.
    """
    found = core_class(core)
    if found is None:
        raise BadInputError(f"no kernels for {core!r}", fix=f"give one of {', '.join(known_cores())}")
    return found


def convert(  # noqa: PLR0913 - what a bundle depends on
    model: str | Path,
    out: str | Path,
    *,
    core: str = CORE,
    calibration: str | Path | None = None,
    classes: tuple[str, ...] | None = None,
    name: str | None = None,
    formats: Mapping[int, WeightFormat] | None = None,
    stripes: bool = True,
    data: Dataset | None = None,
    note: Callable[[str], None] | None = None,
    stages: Stages = silent,
) -> Bundle:
    """Turn a model into a bundle: the golden int8 `.tflite`, C11 that gives the same bytes, and their manifest.

    Where a file ends in ops that are left to the host, the network is taken up to them (`golden_of`). The C is built on
    this machine and compared with TensorFlow Lite Micro's interpreter before the bundle is written.

    Args:
        model: an int8 `.tflite`, a Keras or QKeras model, a SavedModel, or the folder of a training.
        out: the folder to write; an older bundle there is replaced.
        core: the core to choose kernels for, by the compiler's name for it.
        calibration: an `.npz` with real inputs, which a float model takes its int8 ranges from.
        classes: names of the outputs, in order.
        name: what reports call the model; by default the name of its file, or of the folder that holds `train`.
        formats: weight formats by the layer's index, where the cost model's choice is not wanted.
        stripes: compute layers in stripes of rows where that lowers the memory they need.
        data: a float model and its int8 one are compared on this data set's test samples.
        note: called with each thing a reader of the result should know.
        stages: shows how far the work is.

    Raises:
        BadInputError, BadModelError: see `golden` and `write_bundle`.
        MismatchError: the C gives other bytes than the interpreter.
        ToolMissingError: there is no C compiler for the host.
    """
    source = Path(model)
    inputs = None if calibration is None else Path(calibration)
    check_writable(Path(out), open_bundle, "bundle")
    content = in_one_piece(stages("Making the int8 model"), lambda: golden(source, inputs, note, data))
    used, emitting = calibration_of(source, inputs), stages("Writing the C and comparing it with the interpreter")

    def write() -> Bundle:
        made = golden_of(content)
        if note is not None:
            for line in made.notes:
                note(line)
        return write_bundle(
            made.content,
            Path(out),
            name=title(source, name),
            core=kernels_for(core),
            classes=classes,
            formats=formats,
            stripes=stripes,
            calibration=None if used is None else read_samples(used),
            check=verify_against_oracle,
        )

    with about(source):
        return in_one_piece(emitting, write)


def convert_control(control: str | Path, out: str | Path, core: str) -> Bundle:
    """The bundle of an undefended control: the one given, or one made from the given model, in `out`/control/bundle.

    Raises:
        BadInputError, BadModelError, MismatchError, ToolMissingError: see `convert`.
    """
    source = Path(control)
    if (source / MANIFEST).is_file():
        return open_bundle(source)
    name = title(source, None)
    name = name if name == "control" else f"{name} (control)"
    return convert(source, Path(out) / "control" / "bundle", core=core, name=name)
