"""What people read runs: the README and the examples; and the package can be installed."""

import ast
import contextlib
import io
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import unittest
import unittest.mock

from support import SOURCES, Case

import weir

PYTHON = pathlib.Path(SOURCES) / "apps" / "python"


class Documents(Case):
    def run_in_folder(self, code, name):
        before = os.getcwd()
        os.chdir(self.folder)
        self.addCleanup(os.chdir, before)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, name, "exec"), {"__name__": "__main__"})
        os.chdir(before)
        return out.getvalue()

    def test_readme(self):
        text = (pathlib.Path(SOURCES) / "README.md").read_text(encoding="utf-8")
        section = re.search(r"^## From Python$(.*?)^## ", text, re.M | re.S)[1]
        block, = re.findall(r"```python\n(.*?)```", section, re.S)
        out = self.run_in_folder(block, "README.md")
        self.assertIn("10.0.0.1", out)

    def test_examples(self):
        examples = sorted((PYTHON / "examples").glob("*.py"))
        self.assertEqual(len(examples), 5)
        for example in examples:
            with self.subTest(example.name), unittest.mock.patch.object(sys, "argv", [str(example)]):
                out = io.StringIO()
                with contextlib.redirect_stdout(out):
                    runpy.run_path(str(example), run_name="__main__")
                self.assertGreater(len(out.getvalue()), 50)

    def test_stubs_name_what_is_there(self):
        for module, stub in (("_core", "_core.pyi"),):
            tree = ast.parse((PYTHON / "weir" / stub).read_text(encoding="utf-8"))
            real = getattr(weir, module)
            for node in tree.body:
                if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                    self.assertTrue(hasattr(real, node.name), node.name)
                if isinstance(node, ast.ClassDef):
                    for member in node.body:
                        if isinstance(member, ast.FunctionDef):
                            self.assertTrue(hasattr(getattr(real, node.name), member.name), member.name)
            named = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
            self.assertEqual({name for name in dir(real) if not name.startswith("__")} - named, set())

    def test_everything_public_is_described(self):
        for name in weir.__all__:
            if name == "Session" and not os.environ.get("WEIR_MPIEXEC"):
                continue
            item = getattr(weir, name)
            if name not in ("Error", "InputError", "UsageError"):
                self.assertTrue(item.__doc__, name)
                for member, value in vars(item).items() if isinstance(item, type) else ():
                    if not member.startswith("_") and callable(value):
                        self.assertTrue(value.__doc__, f"{name}.{member}")

    def test_versions_are_one(self):
        text = (PYTHON / "pyproject.toml").read_text(encoding="utf-8")
        self.assertEqual(re.search(r'^version = "(.+)"$', text, re.M)[1], weir.__version__)

    def test_wheel(self):
        """The wheel of a build that is there, into a folder of its own: what `pip install` does, without the compiler."""
        sys.path.insert(0, str(PYTHON / "backend"))
        self.addCleanup(sys.path.remove, str(PYTHON / "backend"))
        import weir_build

        modules = sorted(pathlib.Path(weir.__file__).parent.glob("_*.so"))
        with unittest.mock.patch.object(weir_build, "_build", lambda folder: modules):
            name = weir_build.build_wheel(self.folder)
        shutil.unpack_archive(self.path(name), self.path("site"), "zip")
        record = pathlib.Path(self.folder, "site", f"weir-{weir.__version__}.dist-info", "RECORD").read_text().splitlines()
        files = {str(path.relative_to(self.path("site"))) for path in pathlib.Path(self.path("site")).rglob("*") if path.is_file()}
        self.assertEqual({line.split(",")[0] for line in record}, files)
        done = subprocess.run([sys.executable, "-c", "import weir; print(weir.__file__, weir.Vector(n=3).update(1))"],
                              env=dict(os.environ, PYTHONPATH=self.path("site")), capture_output=True, text=True, timeout=60)
        self.assertTrue(done.stdout.startswith(self.path("site")), done.stderr)
