"""The rules on who may import whom, and what the repository may not contain."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {path.name: path for path in ROOT.glob("packages/*/src/isotherm*") if path.is_dir()}
BACKENDS = sorted(PACKAGES.keys() - {"isotherm"})


def modules(package: str) -> dict[str, ast.Module]:
    """The modules of a package by their full names, parsed."""
    folder = PACKAGES[package]
    parsed = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        parsed[name] = ast.parse(path.read_text(encoding="utf-8"), path)
    assert parsed, f"{folder} has no modules"
    return parsed


def imports(nodes: Iterable[ast.AST]) -> set[str]:
    """The full names of what these statements import: ``a.b`` for ``from a import b``."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def top(name: str) -> str:
    return name.partition(".")[0]


def test_core_imports_only_what_it_depends_on():
    # A module or a room with the name of an extra may import what the extra brings.
    project = tomllib.loads((ROOT / "packages/core/pyproject.toml").read_text())["project"]

    def import_names(requirements):
        return {re.match(r"[\w-]+", item)[0].replace("-", "_") for item in requirements}

    everywhere = sys.stdlib_module_names | {"isotherm"} | import_names(project["dependencies"])
    extras = {
        extra: import_names(requirements)
        for extra, requirements in project["optional-dependencies"].items()
    }
    for name, tree in modules("isotherm").items():
        own = {part.lstrip("_") for part in name.split(".")} & extras.keys()
        extra = set().union(*(extras[part] for part in own))
        strangers = {top(module) for module in imports(ast.walk(tree))} - everywhere - extra
        assert not strangers, f"{name} imports {strangers}"


def test_core_has_no_cycle_of_imports():
    trees = modules("isotherm")
    graph = {
        name: {
            module if module in trees else module.rpartition(".")[0]
            for module in imports(tree.body)
            if top(module) == "isotherm"
        }
        for name, tree in trees.items()
    }
    TopologicalSorter(graph).prepare()


def test_rooms_are_imported_one_way():
    # A room is a folder of core, or a module beside the folders. Imports inside functions count.
    def room(name):
        return name.split(".")[1] if "." in name else ""

    graph = {}
    for name, tree in modules("isotherm").items():
        known = {module for module in imports(ast.walk(tree)) if top(module) == "isotherm"}
        others = {room(module) for module in known} - {room(name), ""}
        graph.setdefault(room(name), set()).update(others)
    del graph[""]  # the face, which imports them all
    graph.pop("cli")  # ... as does the command line, a user of the face
    graph.pop("testing")
    TopologicalSorter(graph).prepare()
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(_\w+)` \|", text, re.MULTILINE)
    assert set(rooms) == {path.parent.name for path in PACKAGES["isotherm"].glob("_*/__init__.py")}
    for i, name in enumerate(rooms):
        below = graph[name] & set(rooms[i:])
        assert not below, f"{name} imports {below}, which CONTRIBUTING.md has below it"


@pytest.mark.parametrize("package", BACKENDS)
def test_a_backend_knows_only_what_is_for_backends(package):
    allowed = {"isotherm", "isotherm.backend", "isotherm.testing"}
    forbidden = {*BACKENDS} - {package}
    for name, tree in modules(package).items():
        for module in imports(ast.walk(tree)):
            assert top(module) not in forbidden, f"{name} imports {module}"
            if top(module) == "isotherm":
                assert module.rpartition(".")[0] in allowed, f"{name} imports {module}"
                assert module != "isotherm.backend.registry", f"{name} imports {module}"


def test_importing_isotherm_loads_no_plugin_and_nothing_optional():
    program = "import isotherm, sys; print(*sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = {top(name) for name in process.stdout.split()}
    assert "isotherm" in loaded
    optional = {"numba", "torch", "cupy", "matplotlib", "typer", "rich", "pytest", "hypothesis"}
    assert not loaded & {*BACKENDS, *optional}


# What core knows of libraries of arrays, which some plugins are named after.
LIBRARIES_ARE_KNOWN_IN = {
    "_arithmetic.arrays": "how each library calls its dtypes and devices",
    "_arithmetic.exact": "torch's square root on the CPU is not always correctly rounded",
    "_arithmetic.functions": "where arrays are NumPy's memory, and what autograd watches",
    "_energies.origin": "the networks of torch tell that they are torch's",
    "_energies.vectorize": "where a library has its vmap",
    "_programs.reads": "a library's functions do not change",
}


def test_core_names_no_plugin():
    plugins = re.compile("|".join(package.removeprefix("isotherm_") for package in BACKENDS))
    named = {
        name.removeprefix("isotherm."): set(plugins.findall(" ".join(words(tree))))
        for name, tree in modules("isotherm").items()
    }
    assert {name for name, found in named.items() if found} == LIBRARIES_ARE_KNOWN_IN.keys()
    assert set().union(*named.values()) == {"cupy", "torch"}


def test_what_an_energy_is_it_says_itself():
    kinds = {"Declared", "FormulaEnergy", "GaussianEnergy", "ScoreEnergy"}
    asked = {
        (name, kind.id)
        for package in PACKAGES
        for name, tree in modules(package).items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "isinstance"
        for kind in ast.walk(node.args[1])
        if isinstance(kind, ast.Name) and kind.id in kinds
    }
    # The one question that is asked of anybody's object, and what a formula can be added to.
    assert asked == {
        ("isotherm._energies.origin", "Declared"),
        ("isotherm._energies.formulas", "FormulaEnergy"),
    }


def words(tree: ast.Module) -> Iterator[str]:
    """The names and texts of a module, without its docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, documented)]
    notes = {id(one.value) for body in bodies for one in body if isinstance(one, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) not in notes:
            fields = (getattr(node, field, None) for field in node._fields)
            yield from (field for field in fields if isinstance(field, str))


def test_no_file_names_a_path_of_a_machine():
    machine_path = re.compile(rb"(?<![\w.~])/(?:home|root|tmp|work|Users)/\w+|\b[A-Z]:\\\w+")
    # Git reads no repository of another user, which a clone in CI may be, unless it is told to.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    names = listing.stdout.decode().rstrip("\0").split("\0")
    found = [
        f"{name}: {match[0].decode()}"
        for name in names
        if (ROOT / name).is_file() and b"\0" not in (text := (ROOT / name).read_bytes())
        for match in machine_path.finditer(text)
    ]
    assert not found
