"""The PlatformIO platform that builds tritguard's firmwares."""

import json
import shutil
from pathlib import Path

from platformio.dependencies import get_core_dependencies
from platformio.package.manager.tool import ToolPackageManager
from platformio.package.meta import PackageItem, PackageMetadata, PackageSpec, PackageType
from platformio.public import PlatformBase

TOOLCHAIN = "toolchain-gccarmnoneeabi"
LAUNCHER = "from SCons.Script.Main import main\n\nmain()\n"


def provide_scons():
    """Give PlatformIO its `tool-scons` package, made from the SCons that pip installed.

    Without it PlatformIO downloads one from its registry, as it still does if it wants another version than pip's.
    """
    try:
        import SCons  # noqa: PLC0415
    except ImportError:
        return
    wanted = PackageSpec(owner="platformio", name="tool-scons", requirements=get_core_dependencies()["tool-scons"])
    manager = ToolPackageManager()
    if manager.get_package(wanted):
        return
    major, minor, patch = [*SCons.__version__.split("."), "0", "0"][:3]
    version = f"{major}.{major}{int(minor):02}{int(patch):02}.0"  # the registry writes 4.11.1 as 4.41101.0
    metadata = PackageMetadata(
        PackageType.TOOL, "tool-scons", version, PackageSpec(owner="platformio", name="tool-scons")
    )
    if metadata.version not in wanted.requirements:
        return
    package = Path(manager.package_dir, "tool-scons")
    package.mkdir(parents=True, exist_ok=True)
    description = {"name": "tool-scons", "version": version, "description": "launcher of pip's SCons", "system": "*"}
    (package / "package.json").write_text(json.dumps(description), encoding="utf-8")
    (package / "scons.py").write_text(LAUNCHER, encoding="utf-8")
    PackageItem(str(package), metadata).dump_meta()


class TritguardPlatform(PlatformBase):
    def is_embedded(self):
        # PlatformIO says no if none of the packages uploads; here tritguard uploads.
        return True

    def configure_default_packages(self, options, targets):
        provide_scons()
        if not shutil.which("arm-none-eabi-gcc"):
            self.packages[TOOLCHAIN]["optional"] = False
        return super().configure_default_packages(options, targets)
