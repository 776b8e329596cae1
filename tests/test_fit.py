"""Nets that are proposed for a budget: what they are expected to take, and that they train and fit."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tritguard import api
from tritguard.boards import load_board
from tritguard.build import Budget, build
from tritguard.cli import app
from tritguard.data import Dataset
from tritguard.data.dataset import PIXEL_UNIT
from tritguard.emit import write_bundle
from tritguard.errors import BadInputError, OverBudgetError
from tritguard.fitting import FAMILIES, FitBudget, Proposals, as_toml, parse_budget
from tritguard.fitting.measure import golden_maker
from tritguard.profile import expected_cycles
from tritguard.train import TrainConfig, read_train_config
from tritguard.train.config import AdversarialConfig, QuantizeConfig
from tritguard.train.nets import build_net

SHAPE = (16, 16, 3)
CLASSES = 4


def pictures() -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (40, *SHAPE), dtype=np.uint8)
    y = rng.integers(0, CLASSES, 40)
    names = tuple("abcd")
    return Dataset("noise", x[:10], y[:10], names, PIXEL_UNIT, "none", x_train=x[10:], y_train=y[10:])


def archive(folder: Path) -> Path:
    data = pictures()
    assert data.x_train is not None and data.y_train is not None
    path = folder / "noise.npz"
    np.savez(
        path, x_test=data.x_test, y_test=data.y_test, x_train=data.x_train, y_train=data.y_train, classes=data.classes
    )
    return path


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("322K,64K", FitBudget(flash=322 << 10, ram=64 << 10)),
        ("1M, 65536", FitBudget(flash=1 << 20, ram=65536)),
        ("322K,64K,40M", FitBudget(flash=322 << 10, ram=64 << 10, cycles=40_000_000)),
        ("322K,64K,2.5Mcycles", FitBudget(flash=322 << 10, ram=64 << 10, cycles=2_500_000)),
        ("322K,64K,40MMACs", FitBudget(flash=322 << 10, ram=64 << 10, macs=40_000_000)),
    ],
)
def test_a_budget_is_flash_ram_and_perhaps_time(text: str, budget: FitBudget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "322K", "322K,64K,40", "322K,64K,0M", "0,64K", "a,b", "1K,1K,1M,1M", "1K,1K,40s"])
def test_other_words_are_no_budget(text: str) -> None:
    with pytest.raises(BadInputError):
        parse_budget(text)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (49, 10, 1), (7, 7, 2)])
@pytest.mark.parametrize("net", FAMILIES)
def test_what_a_choice_computes_is_counted_as_the_net_does(net: str, shape: tuple[int, int, int]) -> None:
    family = FAMILIES[net]
    choices = list(islice(family.choices(shape), 60_000))
    assert len(choices) == len(set(choices)) > 30
    for stages in choices[:: len(choices) // 4]:
        work = family.work(stages, shape, 5)
        model = build_net(TrainConfig.model_validate(family.settings(stages)), shape, 5)
        weighted = [layer for layer in model.layers if hasattr(layer, "kernel")]
        assert work.weights == sum(int(np.prod(layer.kernel.shape)) for layer in weighted)
        pixels = [int(np.prod(layer.output.shape[1:-1])) for layer in weighted]
        macs = sum(int(np.prod(layer.kernel.shape)) * count for layer, count in zip(weighted, pixels, strict=True))
        assert work.macs == macs
        assert work.channels == sum(layer.output.shape[-1] for layer in weighted)
        edges = [int(np.prod(layer.input.shape[1:])) + int(np.prod(layer.output.shape[1:])) for layer in weighted]
        assert work.peak >= max(edges)


def test_settings_are_written_as_they_are_read(tmp_path: Path) -> None:
    config = TrainConfig.model_validate(
        {
            "data": 'odd "name"\\with.npz',
            "net": "residual",
            "stages": [{"channels": 8}, {"channels": 16, "stride": 2, "blocks": 1}],
            "quantize": QuantizeConfig(weights="incremental", shares=(0.25, 1.0), one_scale=True),
            "adversarial": AdversarialConfig(attack="fgsm", eps=1.5),
            "learning_rate": 1e-05,
        }
    )
    path = tmp_path / "settings.toml"
    path.write_text(as_toml(config, "a comment"))
    assert read_train_config(path) == config
    assert path.read_text().startswith("# a comment\n[train]\n")
    path.write_text(as_toml(TrainConfig()))
    assert read_train_config(path) == TrainConfig()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "board_id", "weights", "budget"),
    [
        ("residual", "mps2-an386", "stochastic", FitBudget(flash=80_000, ram=24_000, cycles=6_000_000)),
        ("separable", "mps2-an385-m0plus", "none", FitBudget(flash=40_000, ram=24_000, cycles=3_000_000)),
    ],
)
def test_proposals_take_what_they_are_expected_to(
    tmp_path: Path, net: str, board_id: str, weights: str, budget: FitBudget
) -> None:
    """Held against the firmware that is built: flash and RAM within 4 %, and within the budget; cycles within 8 %."""
    quantize = QuantizeConfig.model_validate({"weights": weights, "first": "int8", "last": "int8"})
    config, data, board = (
        TrainConfig.model_validate({"net": net, "quantize": quantize}),
        pictures(),
        load_board(board_id),
    )
    assert budget.cycles is not None
    found = api.fit(config, data, budget, board, rows=2)
    assert len(found.proposals) == 2
    assert all(later.cycles >= 1.5 * earlier.cycles for earlier, later in pairwise(found.proposals))
    worth = [proposal.weights * proposal.macs for proposal in found.proposals]
    assert worth == sorted(worth)
    assert data.x_train is not None
    golden = golden_maker(SHAPE, CLASSES, data.x_train[:16])
    for proposal in found.proposals:
        folder = tmp_path / proposal.words.replace("/", "-")
        bundle = write_bundle(golden(proposal.config), folder / "bundle", name="net", core=board.core_class)
        limits = Budget(max_flash=budget.flash, max_ram=budget.ram)
        built = build(bundle, board, folder / "build", budget=limits)  # which refuses a firmware that is over it
        sizes, expected = built.record.sizes, expected_cycles(bundle, built)
        assert expected is not None
        assert proposal.flash == pytest.approx(sizes.flash_total, rel=0.04)
        assert proposal.ram == pytest.approx(sizes.ram_static + sizes.stack_reserved, rel=0.04)
        assert proposal.cycles == pytest.approx(expected.cycles, rel=0.08)
        assert proposal.macs == bundle.manifest.macs + bundle.manifest.removed.macs
    assert found.proposals[-1].flash > 0.8 * budget.flash or found.proposals[-1].cycles > 0.8 * budget.cycles


def test_a_budget_that_nothing_fits_says_what_the_smallest_takes() -> None:
    config = TrainConfig.model_validate({"net": "residual"})
    with pytest.raises(OverBudgetError, match=r"no residual fits 8,192 B, 65,536 B: the smallest takes \d+,\d{3} B"):
        api.fit(config, pictures(), "8K,64K")
    with pytest.raises(OverBudgetError, match="1,000 cycles: the smallest takes"):
        api.fit(config, pictures(), "64K,64K,0.001M")


def test_a_net_without_widths_to_choose_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"no widths to choose.*'residual' or 'separable'"):
        api.fit(TrainConfig.model_validate({"net": "ds-cnn"}), pictures(), "322K,64K")


def test_the_verb_proposes_and_its_files_train(tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = tmp_path / "settings.toml"
    config.write_text(f'[train]\ndata = "{archive(tmp_path)}"\nepochs = 1\nseed = 7\n')
    done = CliRunner().invoke(
        app, ["train", str(config), "--net", "residual", "--fit", "32K,20K,0.2M", "-o", str(out), "--json"]
    )
    assert done.exit_code == 0, done.output
    files = sorted(out.glob("*.toml"))
    assert files and {path.name for path in out.iterdir()} == {f"fit-{n + 1}.toml" for n in range(len(files))}
    assert "nothing is trained yet" in done.stderr
    found = Proposals.model_validate_json(done.stdout)
    assert found.proposals[0].words in done.stderr
    settings = read_train_config(files[0])
    assert found.proposals[0].config == settings
    assert (settings.net, settings.epochs, settings.seed) == ("residual", 1, 7)
    trained = CliRunner().invoke(app, ["train", str(files[0]), "-o", str(out / "train")])
    assert trained.exit_code == 0, trained.output


def test_a_board_without_fit_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["train", "--board", "pico", "-o", str(tmp_path)])
    assert isinstance(done.exception, BadInputError)
