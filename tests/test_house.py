"""The rules of the house: imports run downwards, files stay small, what is promised in the README exists."""

import ast
import re
import subprocess
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml

from gcnlab.cli import build_parser

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "gcnlab"
LONGEST = 400  # lines
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}

# floor or room → what it may import of the package besides itself; no other room exists
MAY_IMPORT = {
    "errors": set(),
    "paper": {"errors"},
    "models": {"errors"},
    "data": {"errors"},
    "evaluation": {"errors"},
    "training": {"errors", "models", "data", "evaluation"},
    "study": {"errors", "paper", "models", "data", "evaluation", "training"},
    "cli": {"errors", "paper", "models", "data", "evaluation", "training", "study"},
    "__main__": {"cli"},
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(name):
    """The modules of the package that module ``name`` imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & MODULES.keys()
            if inside - MODULES.keys():
                found.add(node.module)
    return {module for module in found if module.split(".")[0] == "gcnlab"} - {name}


def room(module):
    return module.partition(".")[2].partition(".")[0]


# --- imports -------------------------------------------------------------------------------------


def test_the_package_has_the_rooms_of_the_plan():
    assert {room(name) for name in MODULES} - {""} == set(MAY_IMPORT)
    assert imports("gcnlab") == set(), "importing the package loads nothing"


@pytest.mark.parametrize("name", [name for name in MODULES if room(name)])
def test_imports_run_downwards(name):
    allowed = MAY_IMPORT[room(name)] | {room(name), ""}  # "": the package itself, for its version
    wrong = [module for module in imports(name) if room(module) not in allowed]
    assert wrong == [], f"{name} must not import {wrong}"
    assert imports(name) <= MODULES.keys()


def test_imports_have_no_circles():
    try:
        order = list(TopologicalSorter({name: imports(name) for name in MODULES}).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))
    assert len(order) == len(MODULES)


def test_only_figures_and_notebooks_need_the_notebook_libraries():
    """And these are imported where they are needed: the training core runs without them."""
    extra = {"matplotlib", "seaborn", "papermill", "nbconvert", "IPython", "ipywidgets", "submitit"}
    users = {}
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                users.setdefault(name, set()).update({m.split(".")[0] for m in modules} & extra)
    drawing = {name for name, used in users.items() if used}
    assert {name.removeprefix("gcnlab.study.") for name in drawing} <= {
        *("diagrams", "drawing", "field_plots", "pictures", "plots", "series", "step_plots", "views"),
    }
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and name not in drawing:
                assert not {f"{node.module}.{alias.name}" for alias in node.names} & drawing, name


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODULES)
def test_no_module_is_long(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
    text = ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8")))
    assert text and text.splitlines()[0].endswith((".", ":")), name


def tracked(*folders):
    """Files that git has or would take, or all files where there is no git."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z", *folders]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = [ROOT / name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path for folder in folders for path in [ROOT / folder, *(ROOT / folder).rglob("*")]]
        found = [path for path in found if not {"__pycache__", "local", "weights", "checkpoints"} & set(path.parts)]
    return [path for path in found if path.is_file() and path.suffix != ".png"]


@pytest.mark.parametrize("place", ["gcnlab", "notebooks", "results", "README.md", "run_all.sh", "pyproject.toml",
                                   "constraints.txt", "environment.yml", "CITATION.cff"])  # fmt: skip
def test_no_path_of_one_machine(place):
    found = []
    for path in tracked(place):
        text = re.sub(r"data:image/png;base64,[\w+/=]+", "", path.read_text(encoding="utf-8"))
        found += [f"{path}: {hit}" for hit in re.findall(r"/(?:work|root|home|Users|tmp|mnt|var)/[\w.-]+\S*", text)]
    assert found == []


# --- dependencies --------------------------------------------------------------------------------


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def required():
    """group → names of the packages that pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    named = {group: {normalised(re.match(r"[\w.-]+", line)[0]) for line in lines} for group, lines in groups.items()}
    return {group: names - {"gcnlab"} for group, names in named.items()}


def test_every_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert len(pins) == len([line for line in lines if "==" in line]), "one version each"
    missing = set().union(*required().values()) - {normalised(name) for name in pins}
    assert missing == set()


def test_conda_gets_the_same_packages():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    plain = {re.match(r"[\w-]+", entry)[0] for entry in entries if isinstance(entry, str)}
    groups = required()
    wanted = {CONDA_NAMES.get(name, name) for group in ("core", "notebooks", "test") for name in groups[group]}
    assert wanted - plain == set()
    assert plain - wanted - {CONDA_NAMES.get(n, n) for n in groups["cluster"]} == {"python", "pip"}
    (by_pip,) = (entry["pip"] for entry in entries if isinstance(entry, dict))
    assert by_pip == ["-e ."], "the lines of a requirements file: pip takes no other option there"


def test_versions_asked_of_conda_and_pip_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = dict(re.match(r"([\w-]+)(.*)", line).groups() for line in project["dependencies"])
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    for name, bound in re.findall(r"- (pytorch|torchvision)(>=[\d.]+)", text):
        assert asked[{"pytorch": "torch"}.get(name, name)] == bound
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()
    assert int(low) <= int(re.search(r"python=3\.(\d+)", text)[1]) < int(high)
    run_all = (ROOT / "run_all.sh").read_text(encoding="utf-8")
    assert f"(3, {low}) <= sys.version_info[:2] <= (3, {int(high) - 1})" in run_all


# --- the README ----------------------------------------------------------------------------------

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(program):
    """What the README calls with ``program``, in `code` or in code blocks, without comments."""
    inline = re.findall(rf"`(?:[A-Z_]+=\S+ )?{re.escape(program)}\b([^`]*)`", README)
    blocks = re.findall(r"```bash\n(.*?)```", README, re.S)
    lines = [line.split("#")[0] for block in blocks for line in block.splitlines() if line.startswith(program)]
    return [call.split() for call in [*inline, *(line.removeprefix(program) for line in lines)]]


def test_the_two_commands_of_the_readme():
    (block,) = re.findall(r"## Two commands\n\n```bash\n(.*?)```", README, re.S)
    assert [line.split("#")[0].strip() for line in block.splitlines()] == ["./run_all.sh", "./run_all.sh test"]
    script = (ROOT / "run_all.sh").read_text(encoding="utf-8")
    assert "== test ]]" in script and "python -m pytest" in script and "python -m gcnlab notebooks" in script


def test_every_command_of_the_readme_is_understood():
    found = [["notebooks", *call] for call in commands("./run_all.sh") if call != ["test"]]
    found += [call for call in commands("python -m gcnlab") if call]
    assert len(found) > 12
    for call in found:
        try:
            build_parser().parse_args(call)
        except SystemExit:
            pytest.fail(f"README: {' '.join(call)}")


def test_the_imports_of_the_readme_work():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    lines = [line for line in example.splitlines() if line.startswith(("from ", "import "))]
    assert len(lines) >= 3
    exec("\n".join(lines), {})


def test_links_of_the_readme_lead_somewhere():
    """Those to the results once something is committed there."""
    places = [link for link in re.findall(r"\]\(([^)#\s]+)\)", README) if "://" not in link]
    if not list((ROOT / "results").glob("*/runs/*.json")):
        places = [link for link in places if link.split("/")[0] != "results"]
    assert len(places) >= 4
    assert [link for link in places if not (ROOT / link).exists()] == []
