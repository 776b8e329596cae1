"""The framework's flags, and its sources as a library, as a vendor's core has them."""

from pathlib import Path

from SCons.Script import DefaultEnvironment

env = DefaultEnvironment()
core = Path(env.PioPlatform().get_package_dir("framework-arduinostandin"))
machine = [f"-mcpu={env.BoardConfig().get('build.cpu')}", "-mthumb", "-mfloat-abi=soft"]
env.Append(
    CCFLAGS=[*machine, "-Os", "-ffunction-sections", "-fdata-sections"],
    CFLAGS=["-std=gnu11"],
    CXXFLAGS=["-std=gnu++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"],
    CPPDEFINES=[("ARDUINO", 10819), "ARDUINO_ARCH_STANDIN"],
    CPPPATH=[str(core)],
    LINKFLAGS=[*machine, "-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections"],
    LDSCRIPT_PATH=str(core / "standin.ld"),
)
env.Append(LIBS=[env.BuildLibrary("$BUILD_DIR/FrameworkArduino", str(core))])
