"""The Debian packages that cpack makes install into a clean root and run there; pkg-config and CMake find what they hold.

WEIR_BUILD is the build directory, WEIR_SOURCES the tree, WEIR_PREFIX an installation, WEIR_LIBDIR its folder of libraries,
WEIR_VERSION the version of the project; WEIR_CMAKE, WEIR_CPACK and WEIR_CXX are the programs, WEIR_COMPONENTS the packages.
"""

import glob
import gzip
import json
import os
import re
import subprocess
import tempfile
import unittest

from clean_root import make_clean_root, may_change_root, names_in, run_in

BUILD, SOURCES, PREFIX, LIBDIR, VERSION = (os.environ["WEIR_" + name] for name in ("BUILD", "SOURCES", "PREFIX", "LIBDIR", "VERSION"))
CONSUMER = os.path.join(SOURCES, "tests", "install", "consumer")
NAMES = {"development": "libweir-dev", "program": "weir", "python": "python3-weir"}


def output_of(*command, **options):
    completed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300, **options)
    assert completed.returncode == 0, "%s: %s" % (" ".join(command), (completed.stdout + completed.stderr).decode())
    return completed.stdout.decode()


def compile_with_pkg_config(libdir, folder, *packages):
    """Builds and runs programs of `consumer` without CMake."""
    environment = dict(os.environ, PKG_CONFIG_PATH=os.path.join(libdir, "pkgconfig"))
    for package in packages:
        source = {"weir-core": "draw.cpp", "weir": "merge.cpp"}[package]
        flags = output_of("pkg-config", "--cflags", "--libs", package, env=environment).split()
        program = os.path.join(folder, source[:-4])
        output_of(os.environ["WEIR_CXX"], "-std=c++20", "-o", program, os.path.join(CONSUMER, source), *flags)
        output_of(program)


class Prefix(unittest.TestCase):
    def test_pkg_config(self):
        libdir = os.path.join(PREFIX, LIBDIR)
        environment = dict(os.environ, PKG_CONFIG_PATH=os.path.join(libdir, "pkgconfig"))
        for package in ("weir", "weir-core"):
            self.assertEqual(output_of("pkg-config", "--modversion", package, env=environment).strip(), VERSION)
        with tempfile.TemporaryDirectory() as folder:
            compile_with_pkg_config(libdir, folder, "weir-core")


class Packages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        made = os.path.join(cls.folder, "made")
        output_of(os.environ["WEIR_CPACK"], "-G", "DEB", "--config", os.path.join(BUILD, "CPackConfig.cmake"), "-B", made)
        cls.packages = {os.path.basename(path).split("_")[0]: path for path in glob.glob(os.path.join(made, "*.deb"))}
        for name, path in cls.packages.items():
            output_of("dpkg-deb", "-x", path, os.path.join(cls.folder, name))

    def field(self, name, field):
        return output_of("dpkg-deb", "-f", self.packages[name], field).strip()

    def files(self):
        for name in self.packages:
            for place, _, names in os.walk(os.path.join(self.folder, name)):
                for file in names:
                    yield os.path.join(place, file)

    def test_what_was_made(self):
        self.assertEqual(sorted(self.packages), sorted(NAMES[component] for component in os.environ["WEIR_COMPONENTS"].split()))
        for name, path in self.packages.items():
            architecture = output_of("dpkg", "--print-architecture").strip()
            self.assertEqual(os.path.basename(path), "%s_%s_%s.deb" % (name, VERSION, architecture))
            self.assertEqual(self.field(name, "Version"), VERSION)
            self.assertRegex(self.field(name, "Maintainer"), r"^.+ <.+@.+>$")
            documents = os.path.join(self.folder, name, "usr", "share", "doc", name)
            with gzip.open(os.path.join(documents, "changelog.gz")) as file:
                changelog = file.read().decode()
            self.assertRegex(changelog, r"\Aweir \(%s\) unstable; urgency=medium\n\n  \* " % re.escape(VERSION))
            self.assertRegex(changelog, r"\n -- .+ <.+>  \w{3}, \d{2} \w{3} \d{4} 00:00:00 \+0000\n")
            with open(os.path.join(documents, "copyright")) as file:
                self.assertIn("Apache-2.0", file.read())

    def test_debian_reads_the_changelog(self):
        path = os.path.join(self.folder, "weir", "usr", "share", "doc", "weir", "changelog.gz")
        plain = os.path.join(self.folder, "changelog")
        with gzip.open(path) as packed, open(plain, "wb") as file:
            file.write(packed.read())
        parsed = subprocess.run(["dpkg-parsechangelog", "-l", plain, "-S", "Version"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual((parsed.returncode, parsed.stdout.decode().strip(), parsed.stderr), (0, VERSION, b""))

    def test_nothing_refers_to_the_tree(self):
        for path in self.files():
            with open(path, "rb") as file:
                content = file.read()
            for folder in (BUILD, SOURCES):
                self.assertNotIn(folder.encode(), content, path)

    def test_manual_and_completions(self):
        root = os.path.join(self.folder, "weir", "usr", "share")
        self.assertTrue(os.path.exists(os.path.join(root, "man", "man1", "weir-sample.1.gz")))
        self.assertTrue(os.path.exists(os.path.join(root, "bash-completion", "completions", "weir")))

    @unittest.skipUnless(may_change_root(), "this machine does not let the root be changed")
    def test_runs_in_a_clean_root(self):
        root = os.path.join(self.folder, "root")
        programs = [name for name in self.packages if name != "libweir-dev"]
        wanted = ["dash", "coreutils"]  # mpirun starts a shell, and every Debian has both
        for name in programs:
            wanted += [choices[0] for field in ("Depends", "Recommends") for choices in names_in(self.field(name, field))]
        if "python3-weir" in programs:
            wanted.append("python3-mpi4py")
        make_clean_root(root, wanted)
        for name in programs:
            output_of("dpkg-deb", "-x", self.packages[name], root)
        with open(os.path.join(root, "tmp", "events.csv"), "w") as file:
            file.write("7,3\n300,5\n300,-5\n")
        sample = ["weir", "sample", "--n", "1000", "--seed", "1", "--samples", "3", "--json", "/tmp/events.csv"]
        launcher = os.path.basename(os.environ["WEIR_MPIEXEC"])
        for ranks, command in ((1, sample), (2, [launcher, "-n", "2", *sample])):
            completed = run_in(root, command)
            self.assertEqual(completed.returncode, 0, completed.stderr.decode())
            answer = json.loads(completed.stdout)
            self.assertEqual(answer["ranks"], ranks)
            self.assertEqual({draw["index"] for draw in answer["samples"]}, {7})  # 300 came and went
        self.assertEqual(run_in(root, ["weir", "--version"]).stdout.decode().split()[-1], VERSION)
        self.assertEqual(run_in(root, ["weir-supervise", "--help"]).returncode, 0)
        if "python3-weir" in programs:
            code = "import weir; print(weir.Vector(n=10, seed=1).update([7], [3]).sample(1)['index'][0], weir.__version__, weir.Session.__name__)"
            completed = run_in(root, ["python3", "-c", code])
            self.assertEqual(completed.stdout.decode().split(), ["7", VERSION, "Session"], completed.stderr.decode())

    def test_pkg_config_and_cmake_find_the_library(self):
        libdir = os.path.join(self.folder, "libweir-dev", "usr", LIBDIR)
        compile_with_pkg_config(libdir, self.folder, "weir")
        output_of(os.environ["WEIR_CMAKE"], "-S", CONSUMER, "-B", os.path.join(self.folder, "consumer"),
                  "-DCMAKE_PREFIX_PATH=" + os.path.join(self.folder, "libweir-dev", "usr"))
        with open(os.path.join(self.folder, "consumer", "CMakeCache.txt")) as cache:
            self.assertRegex(cache.read(), r"(?m)^weir_DIR:PATH=%s" % re.escape(os.path.join(self.folder, "libweir-dev")))

    def test_dependencies_are_those_of_setup(self):
        with open(os.path.join(SOURCES, "scripts", "setup")) as file:
            setup = set(re.findall(r"[\w.+-]+", file.read()))
        wanted = {choices[0] for choices in names_in(self.field("libweir-dev", "Depends"))}
        self.assertLessEqual({name for name in wanted if name != "libmpich-dev"}, setup)
        # What the installed CMake files look for is what the package depends on: one Debian package each, and MPI.
        with open(os.path.join(self.folder, "libweir-dev", "usr", LIBDIR, "pkgconfig", "weir-core.pc")) as file:
            needs = re.search(r"^Requires: (.+)$", file.read(), re.M)[1].split(", ")
        self.assertEqual(len(needs) + 1, len(wanted))


if __name__ == "__main__":
    unittest.main()
