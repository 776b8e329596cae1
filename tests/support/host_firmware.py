"""Everything of the firmware above its port, for this machine, under the address and undefined-behaviour checks."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from math import prod
from pathlib import Path

import pytest

from tests.support.made_once import made_once
from tests.support.shared import ROOT
from tritguard.boards import load_board
from tritguard.build.engine import FLAGS, INPUT_FLAG
from tritguard.build.project import firmware_sources
from tritguard.emit import Bundle
from tritguard.files import whole_folder
from tritguard.resources import firmware_dir


def host_firmware(bundle: Bundle, folder: Path, port: str, *, traced: bool = False, beside: bool = False) -> Path:
    """Compile the firmware of a bundle with one of the ports in `tests/`; return the program.

    Args:
        bundle: the model.
        folder: where it is compiled.
        port: the port's file, without what `common_port.c` has for all of them.
        traced: call `__sanitizer_cov_trace_pc` of the port at each edge of the firmware's control flow.
        beside: receive requests in a buffer beside the arena, as with the C of earlier versions.
    """
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = bundle.manifest
    numbers = ", ".join(str(i) for i in range(16))
    (folder / "id.h").write_text(f"#define CONFIG_BUILD_ID {{{numbers}}}\n")
    (folder / "config.h").write_text(
        f'#define CONFIG_BOARD_ID "host"\n#define CONFIG_BUILD_ID_BYTES 16u\n'
        f"#define CONFIG_INPUT_BYTES {prod(manifest.input.shape)}u\n"
        f"#define CONFIG_OUTPUT_BYTES {manifest.output_bytes}u\n#define CONFIG_LOGIT_COUNT {manifest.output_bytes}u\n"
        '#define CONFIG_LAYER_COUNT 99u\n#define CONFIG_PORT "host"\n'
        "#define CONFIG_UART_BAUD 921600u\n#define CONFIG_UART_RATES 3000000u, 2000000u\n"
        + ("#define CONFIG_KEEPS_STATE\n" if manifest.state_bytes else "")
    )
    shared = [file for name, file in firmware_sources(load_board("mps2-an386")).items() if "/" not in name]
    model = bundle.c_dir / "tg_model.c"
    sources = [*(file for file in shared if file.suffix == ".c"), model]
    program = folder / "firmware"
    flags = FLAGS if beside else (*FLAGS, INPUT_FLAG)
    compiler = ["gcc", *flags, "-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-I{folder}",
                f"-I{ROOT / 'firmware'}", f"-I{bundle.c_dir}"]  # fmt: skip
    own = [folder / Path(file).with_suffix(".o") for file in (port, "common_port.c")]
    for made in own:
        subprocess.run([*compiler, "-c", ROOT / "tests" / made.with_suffix(".c").name, "-o", made], check=True)
    tracing = ["-fsanitize-coverage=trace-pc"] if traced else []
    kernels = [
        _kernel([*compiler, *tracing], file, folder) for file in sorted(bundle.c_dir.glob("*.c")) if file != model
    ]
    subprocess.run([*compiler, *tracing, *sources, *own, *kernels, "-o", program], check=True)
    return program


def _kernel(compiler: list[str], kernel: Path, folder: Path) -> Path:
    """A kernel's object, compiled once in a run of the tests for all models: kernels know nothing of a model."""
    ours = firmware_dir() / "kernels" / kernel.name
    assert ours.read_bytes() == kernel.read_bytes()
    options = [option for option in compiler if not option.startswith("-I") and option != INPUT_FLAG]
    kept = Path(os.environ.get("XDG_CACHE_HOME", folder)) / "host-kernels"
    name = f"{kernel.stem}-{hashlib.sha256(repr(options).encode()).hexdigest()[:16]}"

    def compiled(out: Path) -> None:
        with whole_folder(out, lambda _: None, "object") as draft:
            subprocess.run([*options, f"-I{ours.parent}", "-c", ours, "-o", draft / "kernel.o"], check=True)

    return made_once(kept / name, compiled) / "kernel.o"
