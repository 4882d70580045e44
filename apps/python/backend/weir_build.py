"""What pip asks to build the wheel (PEP 517): CMake builds the modules from the tree that this folder is in.

It needs nothing but Python, so that `pip install ./apps/python` works without a network, also with pip's build isolation, in
which Debian's setuptools is out of reach.

It builds in WEIR_BUILD_DIR; by default in `build` where that is an optimised build with modules for this Python, and otherwise in
`build-python`. What is there is not compiled again. WEIR_JOBS is how many compilers run at once, by default one for
each core and 1.5 GB of memory. WEIR_WITH_MPI=OFF leaves out `weir.Session`, which is also left out where there is no mpicxx.
"""

import base64
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile

PROJECT = pathlib.Path(__file__).resolve().parents[1]
TREE = PROJECT.parents[1]


def _version():
    return re.search(r'^version = "(.+)"$', (PROJECT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]


def _metadata():
    return (
        f"Metadata-Version: 2.1\nName: weir\nVersion: {_version()}\n"
        "Summary: Linear sketches that sample from turnstile streams\nLicense: Apache-2.0\nRequires-Python: >=3.9\n"
        'Requires-Dist: numpy\nProvides-Extra: mpi\nRequires-Dist: mpi4py ; extra == "mpi"\n'
        'Provides-Extra: plot\nRequires-Dist: matplotlib ; extra == "plot"\n'
    )


def _cached(folder):
    """The variables of CMake's cache in a folder; none where it has no build of this tree."""
    try:
        lines = (folder / "CMakeCache.txt").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = dict(re.fullmatch(r"([^#/][^:]*):[^=]*=(.*)", line).groups() for line in lines if re.match(r"[^#/][^:]*:[^=]*=", line))
    return found if pathlib.Path(found.get("CMAKE_HOME_DIRECTORY", "/")).resolve() == TREE else {}


def _modules(folder):
    return sorted((folder / "python" / "weir").glob("_*" + sysconfig.get_config_var("EXT_SUFFIX")))


def _folder():
    """Where to build, and whether that is a build of somebody else, whose settings stay as they are."""
    named = os.environ.get("WEIR_BUILD_DIR")
    folder = pathlib.Path(named).resolve() if named else TREE / "build"
    cache = _cached(folder)
    is_release = cache.get("CMAKE_BUILD_TYPE") == "Release" and not cache.get("WEIR_SANITIZE")
    if cache and _modules(folder) and (named or is_release):
        return folder, True
    return (folder if named else TREE / "build-python"), False


def _jobs():
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, memory // 1_500_000_000))


def _run(what, command):
    print("weir:", *command, flush=True)
    if subprocess.run(command).returncode != 0:
        raise SystemExit(f"weir: CMake could not {what}: the reason is above; `scripts/setup python` installs what is needed on Debian")


def _build():
    """Builds the modules, and returns their paths."""
    if not (TREE / "CMakeLists.txt").is_file():
        raise SystemExit("weir: expected the source tree of weir around apps/python: `pip install ./apps/python` in a clone")
    for tool, package in (("cmake", "cmake"), (os.environ.get("CXX", "c++").split()[0], "g++")):
        if shutil.which(tool) is None:
            raise SystemExit(f"weir: no {tool} (Debian: {package}; `scripts/setup python` installs all that is needed)")
    folder, is_theirs = _folder()
    if not is_theirs:
        options = {
            "CMAKE_BUILD_TYPE": "Release",
            "WEIR_WITH_PYTHON": "ON",
            "WEIR_PYTHON": sys.executable,
            "WEIR_WITH_MPI": os.environ.get("WEIR_WITH_MPI", "ON" if shutil.which("mpicxx") else "OFF"),
            "WEIR_BUILD_TESTS": "OFF",
        }
        generator = ["-G", "Ninja"] if shutil.which("ninja") and not (folder / "CMakeCache.txt").exists() else []
        settings = [f"-D{name}={value}" for name, value in options.items()]
        _run("configure the build", ["cmake", "-S", str(TREE), "-B", str(folder), *generator, *settings])
    jobs = os.environ.get("WEIR_JOBS", str(_jobs()))
    _run("build the modules", ["cmake", "--build", str(folder), "--target", "weir_python", "--parallel", jobs])
    modules = _modules(folder)
    if not modules:
        raise SystemExit(f"weir: {folder} has no modules for this Python: expected another WEIR_BUILD_DIR")
    return modules


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    """Writes what pip wants to know before it has the wheel built, and returns the name of the folder."""
    info = pathlib.Path(metadata_directory, f"weir-{_version()}.dist-info")
    info.mkdir()
    (info / "METADATA").write_text(_metadata(), encoding="utf-8")
    return info.name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Writes the wheel, and returns its name."""
    abi = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    platform = re.sub(r"[-.]", "_", sysconfig.get_platform())
    tag = f"{abi}-{abi}-{platform}"
    name = f"weir-{_version()}-{tag}.whl"
    record = []
    modules = _build()
    with zipfile.ZipFile(os.path.join(wheel_directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:

        def add(path, data):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}")
            wheel.writestr(path, data)

        sources = [path for pattern in ("*.py", "*.pyi", "py.typed") for path in (PROJECT / "weir").glob(pattern)]
        for path in sorted(sources) + modules:
            add(f"weir/{path.name}", path.read_bytes())
        info = f"weir-{_version()}.dist-info"
        add(f"{info}/METADATA", _metadata().encode())
        add(
            f"{info}/WHEEL",
            f"Wheel-Version: 1.0\nGenerator: weir\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        )
        add(f"{info}/LICENSE", (TREE / "LICENSE").read_bytes())
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return name


def build_sdist(sdist_directory, config_settings=None):
    """There is none: the package is built from the whole tree."""
    raise SystemExit("weir: build a wheel; the sources are those of the whole tree")
