"""The format that docs/adding-a-format.md shows works as it is: three files, and nothing else, make it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.support.shared import ROOT
from tests.support.strict_flags import STRICT
from tests.support.tflite_builder import ModelBuilder
from tritguard.cli.convert import parse_formats
from tritguard.emit import native, open_bundle, write_bundle
from tritguard.graph.formats import registry
from tritguard.oracle import Oracle, oracle_available
from tritguard.resources import firmware_dir
from tritguard.twin import OpenTwin, Twin

DOCUMENT = (ROOT / "docs" / "adding-a-format.md").read_text()
NIBBLES = "tritguard.graph.formats.nibbles"


@pytest.fixture
def _nibbles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document's kernel beside the others, its format loaded as its file would be."""
    header, kernel = re.findall(r"```c\n(.*?)```", DOCUMENT, re.DOTALL)
    shutil.copytree(firmware_dir(), tmp_path / "firmware")
    (tmp_path / "firmware" / "kernels" / "tg_dense_nibbles.h").write_text(header)
    (tmp_path / "firmware" / "kernels" / "tg_dense_nibbles.c").write_text(kernel)
    monkeypatch.setattr(native, "firmware_dir", lambda: tmp_path / "firmware")
    for table in ("_FORMATS", "_CODE_BYTES"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    (file,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    module = ModuleType(NIBBLES)
    monkeypatch.setitem(sys.modules, NIBBLES, module)
    exec(compile(file, "nibbles.py", "exec"), vars(module))


def model(depth: int) -> bytes:
    """Two dense layers, the first of an odd number of inputs if `depth` is; every weight fits four bits."""
    rng = np.random.default_rng(depth)
    builder = ModelBuilder((depth,), 0.5, 3)
    tensor = builder.dense(builder.input, rng.integers(-8, 8, (12, depth), dtype=np.int8), [0.01], None, (0.5, -5))
    last = rng.integers(-8, 8, (5, 12), dtype=np.int8)
    return builder.build(builder.dense(tensor, last, [0.02], None, (0.5, 2)))


@pytest.mark.usefixtures("_nibbles")
@pytest.mark.parametrize("depth", [33, 64])
@pytest.mark.skipif(not oracle_available(), reason="no tflite-micro for this platform")
def test_the_format_that_is_shown_gives_the_oracles_bytes(depth: int, tmp_path: Path) -> None:
    content = model(depth)
    asked = parse_formats(["0=nibbles", "1=nibbles"])
    write_bundle(content, tmp_path / "b", name="nibbles", formats=asked)
    bundle = open_bundle(tmp_path / "b")
    sizes = [(layer.weight_format, layer.weight_bytes) for layer in bundle.manifest.layers]
    assert sizes == [("nibbles", 12 * -(-depth // 2)), ("nibbles", 5 * 6)]
    x = np.random.default_rng(0).integers(-128, 128, (40, depth), dtype=np.int8)
    scores = Oracle(content).predict(x).scores
    assert len(np.unique(scores, axis=0)) > 30
    assert np.array_equal(Twin(bundle, threads=1).predict(x).scores, scores)
    assert [array.symbol for array in OpenTwin(bundle, threads=1).arrays] == ["tg_l0_nibbles", "tg_l1_nibbles"]
    for file in bundle.c_dir.glob("*.c"):
        subprocess.run(["cc", *STRICT, "-c", str(file), "-o", str(tmp_path / "o.o")], check=True)


@pytest.mark.usefixtures("_nibbles")
def test_it_is_offered_only_where_four_bits_hold_the_weights(tmp_path: Path) -> None:
    weights = np.full((4, 64), 7, dtype=np.int8)
    weights[0, 0] = 8
    builder = ModelBuilder((64,), 0.5, 3)
    content = builder.build(builder.dense(builder.input, weights, [0.01], None, (0.5, 0)))
    assert write_bundle(content, tmp_path / "b", name="wide").manifest.layers[0].weight_format == "int8"


def test_without_its_file_nobody_knows_it() -> None:
    assert "nibbles" not in registry.format_names()
