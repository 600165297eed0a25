"""Sessions of the whole repository: ``python3 -m nox -s NAME``; without a name, lint and tests.

What follows ``--`` goes to the program that the session runs. Every install is held to
``constraints.txt``.
"""

import hashlib
import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_venv = "yes"

CORE = "./packages/core[arviz,cli,plot,progress,store,testing]"
BACKENDS = {
    "numpy": [],
    "numba": ["./packages/backend_numba"],
    # Triton, so that the CUDA step is interpreted and compiled in the tests without a GPU.
    "torch": ["./packages/backend_torch[triton]"],
    # NVRTC, so that the CUDA source is compiled in the tests without a GPU or a CUDA toolkit.
    "cupy": ["./packages/backend_cupy[cuda12]", "nvidia-cuda-nvrtc-cu12"],
}
PACKAGES = ["core", *(f"backend_{name}" for name in BACKENDS if name != "numpy")]
if sys.platform == "darwin":
    del BACKENDS["cupy"]  # neither CuPy nor NVRTC has wheels for macOS
PLUGINS = [requirement for requirements in BACKENDS.values() for requirement in requirements]
TEST_TOOLS = [
    "array-api-strict", "dask", "distributed", "mpmath", "mypy", "numpydoc", "pyright[nodejs]",
    "pytest-xdist", "scipy",
]  # fmt: skip
# A process for each core, of which the backends' own threads leave little more than four to use.
PROCESSES = ["--numprocesses", "logical", "--maxprocesses", "4", "--dist", "worksteal"]
EXAMPLE_TOOLS = ["pandas", "scikit-learn"]
# The libraries of the machines with a card on which `gpu` is to run; torch brings Triton 3.6.
LENT = ["torch==2.11.0", "cupy-cuda13x==14.2.0", "numpy==2.5.0", "numba"]
DOCS_TOOLS = ["myst-parser", "numpydoc", "pydata-sphinx-theme", "sphinx", "sphinx-gallery"]


def install(session: nox.Session, *requirements: str) -> None:
    """Install requirements at the versions of constraints.txt, unless that was done already."""
    files = [
        Path("constraints.txt"), *Path("benchmarks").glob("*.txt"),
        *(path for path in Path("packages").rglob("*") if path.suffix != ".pyc"),
    ]  # fmt: skip
    wanted = hashlib.sha256(repr(requirements).encode())
    for path in sorted(filter(Path.is_file, files)):
        wanted.update(str(path).encode() + path.read_bytes())
    done = Path(session.virtualenv.location, "installed.txt")
    if done.exists() and done.read_text() == wanted.hexdigest():
        return
    done.unlink(missing_ok=True)
    session.install("--constraint", "constraints.txt", *requirements)
    # Noted by a command of the install phase, which `nox -R` leaves out like the install itself.
    note = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    session.run_install("python", "-c", note, str(done), wanted.hexdigest(), silent=True)


def test(session: nox.Session, backends: list[str], *paths: str) -> None:
    """Run the tests under paths, or all; one of these backends that cannot be imported fails."""
    # Libraries keep what they compile in the user's home, which may not be one that can be written.
    home = Path(session.virtualenv.location, "home")
    home.mkdir(exist_ok=True)
    # Tests of threads need two, on one core too; on many, each process would start as many threads.
    session.run(
        "pytest", *PROCESSES, *paths, *session.posargs,
        env={
            "HOME": str(home), "ISOTHERM_TEST_BACKENDS": ",".join(backends),
            "NUMBA_NUM_THREADS": "2",
        },
    )  # fmt: skip


def test_backend(session: nox.Session, backend: str) -> None:
    """Test one backend beside the reference, in an environment that has no other."""
    install(session, CORE, *BACKENDS[backend], *TEST_TOOLS)
    backends = list(dict.fromkeys(["numpy", backend]))
    own = [] if backend == "numpy" else [f"tests/{backend}"]
    test(session, backends, "tests/agreement", "tests/conformance", *own)


@nox.session
def demo(session: nox.Session) -> None:
    """Sample two energies and draw the pictures."""
    install(session, "./packages/core[cli,plot]", *BACKENDS["numba"])
    session.run("python", "examples/demo.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Everything; ``-- --thorough`` runs for about an hour."""
    install(session, CORE, *PLUGINS, *TEST_TOOLS, *EXAMPLE_TOOLS)
    test(session, list(BACKENDS))


@nox.session
def core(session: nox.Session) -> None:
    """Core alone, where no other array library can be imported."""
    install(session, CORE, *TEST_TOOLS)
    session.run(
        "python",
        "-c",
        "from importlib.util import find_spec; "
        "found = [name for name in ('numba', 'torch', 'cupy') if find_spec(name)]; "
        "assert not found, f'core is to be tested without {found}'",
    )
    test(session, ["numpy"], "tests/core", "tests/noise", "tests/conformance")


@nox.session
def numpy(session: nox.Session) -> None:
    """The reference: agreement with itself, and its own tests."""
    test_backend(session, "numpy")


@nox.session
def numba(session: nox.Session) -> None:
    """The Numba backend: agreement with the reference, and its own tests."""
    test_backend(session, "numba")


@nox.session
def torch(session: nox.Session) -> None:
    """The PyTorch backend: agreement with the reference, and its own tests."""
    test_backend(session, "torch")


@nox.session
@nox.parametrize("version", ["3.4.0", "3.5.1", "3.6.0"])
def triton(session: nox.Session, version: str) -> None:
    """The CUDA step compiled and interpreted by the Tritons that come with older torches."""
    install(session, CORE, *BACKENDS["torch"], *TEST_TOOLS)
    session.install("--no-deps", f"triton=={version}")  # this torch asks for its own
    # In order: what these interpret they compile no more.
    session.run("pytest", "tests/torch/test_kernel.py", *session.posargs)


@nox.session(python="3.12")
def lent(session: nox.Session) -> None:
    """Every kernel compiled with the libraries of machines with a card, from built wheels."""
    session.install(*LENT, "hypothesis", "mpmath", "pytest", "scipy")
    folder = Path(session.create_tmp(), "wheels")
    session.run("python", "benchmarks/wheels.py", str(folder))
    wheels = [str(path) for path in folder.glob("*.whl")]
    session.install("--no-deps", "--force-reinstall", *wheels)
    # In order: what the tests of Triton's kernels interpret they compile no more.
    session.run(
        "pytest", "tests/torch/test_kernel.py", "tests/torch/test_blocks.py", "tests/cupy",
        *session.posargs,
        env={"ISOTHERM_TEST_BACKENDS": "numpy,torch,cupy"},
    )  # fmt: skip


@nox.session
def cupy(session: nox.Session) -> None:
    """The CuPy backend: agreement with the reference, and its own tests."""
    test_backend(session, "cupy")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and types."""
    install(session, CORE, "mypy", "ruff", "platformdirs")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy", "--strict", "packages/core/src")
    session.run("mypy", *(f"packages/backend_{name}/src" for name in ("numba", "torch", "cupy")))


@nox.session
def newest(session: nox.Session) -> None:
    """Everything, with the newest versions that there are instead of those of constraints.txt."""
    session.install("--upgrade", CORE, *PLUGINS, *TEST_TOOLS, *EXAMPLE_TOOLS)
    test(session, list(BACKENDS))


@nox.session
def lowest(session: nox.Session) -> None:
    """Core and Numba with the lowest versions that their metadata allow."""
    # The lowest ArviZ leaves h5py to h5netcdf, which asks for it no more.
    install(session, "uv", "pytest", "hypothesis", "h5py", *TEST_TOOLS)
    session.run(
        "uv", "pip", "install", "--resolution", "lowest-direct",
        "./packages/core[arviz,cli,plot,progress,store]", *BACKENDS["numba"],
        env={"VIRTUAL_ENV": session.virtualenv.location},
    )  # fmt: skip
    # What is newer than they are tells them so.
    session.posargs.extend(["-W", "ignore::DeprecationWarning"])
    rooms = ["agreement", "arithmetic", "cli", "conformance", "core", "long_runs", "numba"]
    test(session, ["numpy", "numba"], *(f"tests/{room}" for room in rooms))


@nox.session
def build(session: nox.Session) -> None:
    """The four wheels: built, checked, installed afresh, and the README's programs run on them."""
    install(session, "build", "twine")
    dist = Path("dist")
    shutil.rmtree(dist, ignore_errors=True)
    for package in PACKAGES:
        session.run("python", "-m", "build", "--outdir", str(dist), f"packages/{package}")
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    fresh = Path(session.create_tmp(), "fresh")
    session.run("python", "-m", "venv", "--clear", str(fresh))
    programs = fresh / ("Scripts" if sys.platform == "win32" else "bin")
    python = str(programs / "python")
    wheels = {path.name.split("-")[0]: str(path) for path in dist.glob("*.whl")}
    core = wheels.pop("isotherm") + "[arviz,cli,plot,progress,store,testing]"
    session.run(
        python, "-m", "pip", "install", "--constraint", "constraints.txt", core, *wheels.values(),
        external=True,
    )  # fmt: skip
    readme = "tests/examples/test_examples.py::test_the_readmes_python_runs"
    env = {"ISOTHERM_TEST_BACKENDS": "numpy,numba,torch"}
    session.run(python, "-m", "pytest", readme, env=env, external=True)
    session.run(str(programs / "isotherm"), "backends", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """The site, into docs/_build/html, with the gallery's programs run; then its links checked."""
    requirements = [*BACKENDS["numba"], *BACKENDS["torch"], "./packages/backend_cupy"]
    install(session, CORE, *requirements, *TEST_TOOLS, *EXAMPLE_TOOLS, *DOCS_TOOLS)
    session.run(
        "sphinx-build", "--fail-on-warning", "--keep-going", "--fresh-env",
        "--doctree-dir", "docs/_build/doctrees", "docs", "docs/_build/html", *session.posargs,
    )  # fmt: skip
    session.run("python", "tools/check_site.py", "docs/_build/html")


@nox.session
def bench(session: nox.Session) -> None:
    """Our backends beside other programs; writes benchmarks/results; ``-- --quick`` only tries."""
    install(
        session, "./packages/core[plot]", *BACKENDS["numba"], "./packages/backend_torch",
        "--requirement", "benchmarks/requirements.txt",
    )  # fmt: skip
    session.run("python", "benchmarks/compare.py", *session.posargs)


@nox.session
def posteriors(session: nox.Session) -> None:
    """Effective samples a second beside other samplers; writes benchmarks/results."""
    install(
        session, "./packages/core[plot]", *BACKENDS["numba"],
        "--requirement", "benchmarks/requirements-posteriors.txt",
    )  # fmt: skip
    session.run("python", "-m", "benchmarks.posteriors", *session.posargs)


@nox.session
def gpu(session: nox.Session) -> None:
    """On a machine with a GPU: what is most in doubt first; writes benchmarks/results/gpu."""
    # torch's wheels bring the libraries of CUDA 13, which CuPy then finds as well.
    install(
        session, CORE, *BACKENDS["numba"], *BACKENDS["torch"], "./packages/backend_cupy[cuda13]",
        *TEST_TOOLS, "--constraint", "benchmarks/requirements.txt", "torchebm",
    )  # fmt: skip
    commit = session.run("git", "rev-parse", "HEAD", external=True, silent=True)
    session.run("python", "benchmarks/gpu.py", "--commit", str(commit).strip(), *session.posargs)
