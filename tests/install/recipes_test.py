"""Spack's recipe, the container file and the release notes agree with the tree, as neither Spack nor a container runs here.

WEIR_SOURCES is the tree, WEIR_VERSION the version of the project.
"""

import ast
import os
import pathlib
import re
import unittest

SOURCES, VERSION = pathlib.Path(os.environ["WEIR_SOURCES"]), os.environ["WEIR_VERSION"]
PACKAGING = SOURCES / "scripts" / "packaging"

# What CMake looks for, and what Spack calls it.
SPACK_NAMES = {"Eigen3": "eigen", "cereal": "cereal", "fmt": "fmt", "nlohmann_json": "nlohmann-json", "ZLIB": "zlib-api", "PkgConfig": "pkgconfig",
               "libxxhash": "xxhash", "libhwy": "highway", "fftw3": "fftw", "rdkafka": "librdkafka", "libzstd": "zstd", "MPI": "mpi",
               "CLI11": "cli11"}
# Found by CMake itself, or left out by the recipe, which says why.
NO_PACKAGES = {"Threads", "cpp-httplib", "Doxygen", "pybind11"}


def cmake_text():
    files = [SOURCES / "CMakeLists.txt", *sorted((SOURCES / "scripts" / "cmake").glob("*.cmake"))]
    return "\n".join(re.sub(r"#.*", "", path.read_text(encoding="utf-8")) for path in files)


class Spack(unittest.TestCase):
    def setUp(self):
        path = PACKAGING / "spack" / "packages" / "weir" / "package.py"
        self.calls = []  # (name, texts among the arguments)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        recipe, = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        self.assertEqual((recipe.name, ast.unparse(recipe.bases[0])) if hasattr(ast, "unparse") else ("Weir", "CMakePackage"), ("Weir", "CMakePackage"))
        for node in ast.walk(recipe):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                self.calls.append((name, [argument.value for argument in node.args if isinstance(argument, ast.Constant)]))

    def arguments_of(self, function):
        return [arguments for name, arguments in self.calls if name == function]

    def test_version(self):
        self.assertEqual(self.arguments_of("version")[0], [VERSION])

    def test_options_are_those_of_cmake(self):
        text = cmake_text()
        known = set(re.findall(r"option\((\w+)", text)) | set(re.findall(r"set\((WEIR_\w+) \S+ CACHE", text)) | {"BUILD_SHARED_LIBS"}
        used = {arguments[0] for arguments in self.arguments_of("define") + self.arguments_of("define_from_variant")}
        self.assertLessEqual(used, known)
        self.assertEqual({name for name in known if name.startswith("WEIR_WITH_")}, {name for name in used if name.startswith("WEIR_WITH_")})
        variants = {arguments[0] for arguments in self.arguments_of("variant")}
        self.assertEqual({arguments[1] for arguments in self.arguments_of("define_from_variant")}, variants)

    def test_dependencies_are_those_of_cmake(self):
        text = cmake_text()
        wanted = set(re.findall(r"find_package\((\w+)", text))
        for call in re.findall(r"(?:pkg_check_modules|weir_find_optional)\(([^)]*)\)", text):
            wanted |= {re.match(r"[\w-]+?(?=[<>=]|$)", word)[0] for word in call.split() if re.match(r"(lib\w+|fftw3|rdkafka|cpp-httplib)[<>=]", word)}
        self.assertGreaterEqual(len(wanted), 15)
        self.assertEqual(wanted - NO_PACKAGES - set(SPACK_NAMES), set())
        given = {re.match(r"[\w-]+", arguments[0])[0] for arguments in self.arguments_of("depends_on")}
        self.assertEqual(given - {"c", "cxx", "cmake"}, {SPACK_NAMES[name] for name in wanted - NO_PACKAGES})
        minimum = re.search(r"cmake_minimum_required\(VERSION ([\d.]+)\)", text)[1]
        self.assertIn(["cmake@%s:" % minimum], self.arguments_of("depends_on"))


class Container(unittest.TestCase):
    def setUp(self):
        self.text = re.sub(r"(?m)^#.*\n", "", (PACKAGING / "Containerfile").read_text(encoding="utf-8")).replace("\\\n", " ")

    def test_packages_are_those_of_setup(self):
        setup = (SOURCES / "scripts" / "setup").read_text(encoding="utf-8")
        level, = re.findall(r"&& scripts/setup (\w+)", self.text)
        self.assertRegex(setup, r"(?m)^  %s\) wanted=" % level)
        known = set(re.findall(r"[\w.+-]+", setup))
        for command in re.findall(r"apt-get install (.*?)(?:&&|$)", self.text, re.M):
            names = {word for word in command.split() if not word.startswith(("-", "/"))}
            self.assertTrue(names)
            self.assertLessEqual(names, known)

    def test_options_and_files_are_there(self):
        text = cmake_text()
        for option in re.findall(r"-D(\w+)=", self.text):
            self.assertRegex(text, r"(option|set)\(%s\b" % option)
        for source in re.findall(r"^COPY (\S+)", self.text, re.M):
            if not source.startswith("--from"):
                self.assertTrue((SOURCES / source).exists(), source)
        names = re.findall(r"PACKAGE_NAME ([\w-]+)\)", text)
        for package in re.findall(r"packages/([\w-]+)_\*\.deb", self.text):
            self.assertIn(package, names)
        stages = re.findall(r"^FROM (\S+)", self.text, re.M)
        self.assertEqual([stage.split(":")[1].split("-")[0] for stage in stages], ["12", "12"])


class ReleaseNotes(unittest.TestCase):
    def test_first_section_is_this_version(self):
        text = (PACKAGING / "release-notes.md").read_text(encoding="utf-8")
        sections = re.findall(r"^## (.*)$", text, re.M)
        self.assertRegex(sections[0], r"^%s \(\d{4}-\d\d-\d\d\)$" % re.escape(VERSION))
        versions = [tuple(map(int, section.split()[0].split("."))) for section in sections]
        self.assertEqual(versions, sorted(set(versions), reverse=True))
        for section in re.split(r"^## .*$", text, flags=re.M)[1:]:
            for line in section.strip().splitlines():
                self.assertRegex(line, r"^(\* |  )\S")  # what becomes a changelog, all of it


if __name__ == "__main__":
    unittest.main()
