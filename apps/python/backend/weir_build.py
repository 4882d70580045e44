"""What pip asks to build the wheel (PEP 517): CMake builds the modules from the tree that this folder is in.

It needs nothing but Python, so that `pip install ./apps/python` works without a network, also with pip's build isolation, in
which Debian's setuptools is out of reach.

WEIR_BUILD_DIR is where the build is kept, to be fast the next time; WEIR_JOBS is how many compilers run at once;
WEIR_WITH_MPI=OFF leaves out `weir.Session`, which is also left out where there is no mpicxx.
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
import tempfile
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


def _build(folder):
    if not (TREE / "CMakeLists.txt").is_file():
        raise SystemExit("weir: expected the source tree of weir around apps/python")
    with_mpi = os.environ.get("WEIR_WITH_MPI", "ON" if shutil.which("mpicxx") else "OFF")
    is_new = not (folder / "CMakeCache.txt").exists()
    generator = ["-G", "Ninja"] if is_new and shutil.which("ninja") else []
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "WEIR_WITH_PYTHON": "ON",
        "WEIR_PYTHON": sys.executable,
        "WEIR_WITH_MPI": with_mpi,
        "WEIR_BUILD_TESTS": "OFF",
    }
    settings = [f"-D{name}={value}" for name, value in options.items()]
    subprocess.run(["cmake", "-S", str(TREE), "-B", str(folder), *generator, *settings], check=True)
    jobs = os.environ.get("WEIR_JOBS", str(os.cpu_count() or 1))
    subprocess.run(["cmake", "--build", str(folder), "--target", "weir_python", "--parallel", jobs], check=True)
    return sorted((folder / "python" / "weir").glob("_*.so"))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Writes the wheel, and returns its name."""
    abi = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    platform = re.sub(r"[-.]", "_", sysconfig.get_platform())
    tag = f"{abi}-{abi}-{platform}"
    name = f"weir-{_version()}-{tag}.whl"
    record = []
    with tempfile.TemporaryDirectory() as temporary:
        modules = _build(pathlib.Path(os.environ.get("WEIR_BUILD_DIR", temporary)).resolve())
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
