"""The first configuration, and what is said of keys that do not exist."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.schemas import faults_of
from tests.support.shared import ROOT
from tritguard.api.road import RunConfig, read_run_config
from tritguard.api.schemas import schema
from tritguard.api.start import examples, init
from tritguard.boards import load_board
from tritguard.cli import app
from tritguard.cli import init as verb
from tritguard.errors import BadInputError
from tritguard.evaluate.registry import STUDIES
from tritguard.graph import read_graph
from tritguard.records import line_of
from tritguard.resources import docs_dir


@pytest.mark.parametrize("model", [None, "net.tflite"])
def test_what_is_written_is_a_configuration(model: str | None, tmp_path: Path) -> None:
    path = init(tmp_path, model=model)
    config = read_run_config(path)
    assert (config.model, config.board) == (model, "mps2-an386") and [kind.leads for kind, _ in config.studies] == [
        True
    ]
    assert config.name == ("first" if model is None else "net")
    assert not faults_of(tomllib.loads(path.read_text()), "configuration")
    assert path.read_text().startswith("#:schema tritguard.schema.json\n")
    assert json.loads((tmp_path / "tritguard.schema.json").read_text()) == json.loads(schema("configuration"))


@pytest.mark.parametrize("model", [None, "net.tflite"])
def test_what_is_commented_out_is_the_default(model: str | None, tmp_path: Path) -> None:
    """With every '#' before a key or a table taken away it is a configuration too, in which nothing else changed."""
    text = init(tmp_path, model=model).read_text()
    all_keys = re.sub(r"^# (?=\w+ = |\[\w+\])", "", text, flags=re.MULTILINE)
    full = RunConfig.model_validate(tomllib.loads(all_keys))
    tables = {kind.table for kind, _ in full.studies}
    needing_a_training = {"transfer", "privacy"}
    assert tables == {kind.table for kind in STUDIES} - (needing_a_training if model else set())
    written = read_run_config(tmp_path / "tritguard.toml")
    assert full.train == written.train and full.attack == written.attack


def test_texts_are_quoted_and_nothing_is_replaced(tmp_path: Path) -> None:
    path = init(tmp_path, name='a "quoted" \\ name', data="data/x.npz", model="m.tflite")
    assert read_run_config(path).name == 'a "quoted" \\ name'
    with pytest.raises(BadInputError, match="exists already"):
        init(tmp_path)
    with pytest.raises(BadInputError, match="holds characters that no name has"):
        init(tmp_path / "b", name="a\nboard = 'x'")
    with pytest.raises(BadInputError, match="no board 'pluto'"):
        init(tmp_path / "b", board="pluto")
    assert not (tmp_path / "b").exists()


def test_the_verb_asks_nothing_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init"])
    assert done.exit_code == 0 and done.output.splitlines()[-1] == "next: tritguard run"
    assert read_run_config(tmp_path / "tritguard.toml").train is not None
    done = CliRunner().invoke(app, ["init", "there", "--model", "m.tflite", "--data", "d.npz"])
    assert done.output.splitlines()[-1] == "next: tritguard run there/tritguard.toml"


def test_the_verb_asks_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verb.sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    answers = iter(["my.tflite", "d.npz", "netduino2"])
    monkeypatch.setattr(verb.typer, "prompt", lambda *_, **__: next(answers))
    verb.command(name="x")
    config = read_run_config(tmp_path / "tritguard.toml")
    assert (config.model, config.data, config.board) == ("my.tflite", "d.npz", "netduino2")


def test_run_without_an_argument_takes_it_or_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=r"no tritguard\.toml here; write one with 'tritguard init'"):
        CliRunner().invoke(app, ["run"], catch_exceptions=False)
    (tmp_path / "tritguard.toml").write_text('name = "x"\nmodel = "nowhere.tflite"\ndata = "d.npz"\n')
    with pytest.raises(BadInputError, match=r"nowhere\.tflite: no such model"):
        CliRunner().invoke(app, ["run"], catch_exceptions=False)


BLOCKS = "[train]\n[[train.blocks]]\nchannels = 3\n[[train.blocks]]\nstrade = 3\nchannels = 2\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[atack]\neps = [1]\n[train]\n", ":2: atack: there is no such key; did you mean 'attack'?"),
        ("[train]\n\n[attack]\nepz = [1]\n", ":5: attack.epz: there is no such key; did you mean 'eps'?"),
        ('train.quantize.wieghts = ""\n', ":2: train.quantize.wieghts: there is no such key; did you mean 'weights'?"),
        (
            "train = { blocks = [{ chanels = 3 }] }\n",
            ":2: train.blocks.0.chanels: there is no such key; did you mean 'ch",
        ),
        (BLOCKS, ":6: train.blocks.1.strade: there is no such key; did you mean 'stride'?"),
        ("[train]\n[attack]\nzzz = 1\n", ":4: attack.zzz: there is no such key; known are samples, "),
        ("[train]\n[attack]\nsamples = 0\n", ":4: attack.samples: Input should be greater"),
        ("", ": give either a model or a [train] table"),
    ],
)
def test_a_wrong_key_is_named_with_its_line_and_the_nearest(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f'name = "x"\n{text}')
    with pytest.raises(BadInputError) as caught:
        read_run_config(path)
    assert f"{path}{said}" in str(caught.value)


def test_a_wrong_key_of_a_board_has_a_line_too(tmp_path: Path) -> None:
    source = (ROOT / "boards" / "mps2-an386.toml").read_text()
    (tmp_path / "my.toml").write_text(source.replace("stack_bytes", "stack_bites"))
    line = 1 + source[: source.index("stack_bytes")].count("\n")
    with pytest.raises(BadInputError, match=rf"my\.toml:{line}: stack_bites: .* did you mean 'stack_bytes'"):
        load_board(tmp_path / "my.toml")


def test_lines_of_keys() -> None:
    text = '# [a]\na = 1\n["b c"]\n"d.e" = 2\n[x.y]\nz = { q = 1 }\n'
    assert [line_of(text, place) for place in (("a",), ("b c", "d.e"), ("x", "y", "z", "q"), ("x", "w"), ("n",))] == [
        2, 4, 6, None, None,
    ]  # fmt: skip


def test_examples_start_from_what_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert examples()[0] == "demo" and len(examples()) >= 3
    for name in examples():
        done = CliRunner().invoke(app, ["init", name, "--example", name])
        assert done.exit_code == 0, done.output
        config = read_run_config(tmp_path / name / "tritguard.toml")
        assert (config.train is not None) == (name == "demo")
        if config.model is not None:
            assert read_graph(Path(config.model).read_bytes()).ops
    demo = tomllib.loads((docs_dir() / "demo.toml").read_text())
    written = tomllib.loads((tmp_path / "demo" / "tritguard.toml").read_text())
    assert (written["name"], written["train"]["data"]) == (demo["name"], demo["train"]["data"])
    for wrong in (["--example", "none"], ["--example", "demo", "--model", "x.tflite"]):
        assert isinstance(CliRunner().invoke(app, ["init", "elsewhere", *wrong]).exception, BadInputError)
    assert not (tmp_path / "elsewhere").exists()
