"""The rules of the layout: imports run downwards, files stay small, promises are kept."""

import ast
import re
import statistics
import subprocess
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from gcnlab.cli.parser import build_parser
from gcnlab.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "gcnlab"
MOST_CODE, MEDIAN, COLUMNS, FUNCTION = 9_710, 120, 100, 50
CONDA_NAMES = {"fastjsonschema": "python-fastjsonschema", "torch": "pytorch"}
CONDA_NAMES |= {"matplotlib": "matplotlib-base"}
LOWEST = {"errors", "files", "processes"}
FOUNDATIONS = {"paper", "models", "data", "evaluation"}

# room → what it may import of the package besides itself; no other room exists
MAY_IMPORT = {name: {"errors"} for name in LOWEST} | dict.fromkeys(FOUNDATIONS, LOWEST)
for _room in ("training", "experiments", "analysis", "report", "cli"):
    MAY_IMPORT[_room] = set(MAY_IMPORT)
MAY_IMPORT["__main__"] = {"cli"}
# words of the first study → the field's
WORDS = {
    r"\btaps?\b": "feature maps", r"\btrials?\b": "ablations", r"trained out": "converged",
    r"begun with": "initialised from", r"\bmargins?\b": "confidence interval",
}  # fmt: skip
UNCLEAR = {"found", "place", "wanted", "there"}  # names of variables


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PATHS.items()}
TREES = {name: ast.parse(text) for name, text in TEXTS.items()}
every_module = pytest.mark.parametrize("name", PATHS)


def imports(name):
    """The modules of the package that module ``name`` imports, also inside functions."""
    modules = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= inside & PATHS.keys()
            if inside - PATHS.keys():
                modules.add(node.module)
    return {module for module in modules if module.split(".")[0] == "gcnlab"} - {name}


def room(module):
    return module.partition(".")[2].partition(".")[0]


# --- imports -------------------------------------------------------------------------------------


def test_the_package_has_the_rooms_of_the_plan():
    assert {room(name) for name in PATHS} - {""} == set(MAY_IMPORT)
    assert imports("gcnlab") == set(), "importing the package loads nothing"


@every_module
def test_imports_run_downwards(name):
    allowed = MAY_IMPORT.get(room(name), set()) | {
        room(name),
        "",
    }  # "": the package, for its version
    assert [module for module in imports(name) if room(module) not in allowed] == []
    assert imports(name) <= PATHS.keys()


def _for_types(name):
    """Imports for type checkers alone, which make no circle."""
    modules = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            modules |= {inner.module for inner in node.body if isinstance(inner, ast.ImportFrom)}
    return modules


def test_imports_have_no_circles():
    packages = {name for name, path in PATHS.items() if path.name == "__init__.py"}
    graph = {name: imports(name) - _for_types(name) for name in PATHS}
    graph = {
        n: {m for m in ms if not (m in packages and n.startswith(m))} for n, ms in graph.items()
    }
    try:
        assert len(list(TopologicalSorter(graph).static_order())) == len(PATHS)
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_only_the_report_needs_the_notebook_libraries():
    """The training core runs without them."""
    extra = {"matplotlib", "seaborn", "papermill", "nbconvert", "IPython", "ipywidgets", "jinja2"}
    for name, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                plain = isinstance(node, ast.Import)
                modules = [alias.name for alias in node.names] if plain else [node.module]
                used = {module.split(".")[0] for module in modules} & (extra | {"submitit"})
                assert not used or (room(name) == "report" and used <= extra), name


# --- files and functions -------------------------------------------------------------------------


@every_module
def test_every_module_says_what_it_is(name):
    text = ast.get_docstring(TREES[name])
    assert text and text.splitlines()[0].endswith((".", ":", "?")), name


@every_module
def test_lines_and_functions_fit_a_screen(name):
    long = [i for i, line in enumerate(TEXTS[name].splitlines(), 1) if len(line) > COLUMNS]
    assert long == []
    functions = [
        n for n in ast.walk(TREES[name]) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert [f.name for f in functions if f.end_lineno - f.lineno + 1 > FUNCTION] == []


def lines(paths):
    return [len(path.read_text(encoding="utf-8").splitlines()) for path in paths]


def count_code(name):
    """Lines that are neither blank nor comment nor docstring."""
    texts = set()
    for node in ast.walk(TREES[name]):
        kind = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if kind and ast.get_docstring(node):
            texts |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    numbered = enumerate(TEXTS[name].splitlines(), 1)
    return sum(bool(t.strip()) and t.lstrip()[0] != "#" and i not in texts for i, t in numbered)


def test_the_package_is_small():
    code = sum(count_code(name) for name in PATHS)
    assert code <= MOST_CODE, "it shall shrink, not grow"
    assert statistics.median(lines(PATHS.values())) <= MEDIAN


def test_the_tests_are_smaller_than_the_code():
    assert sum(lines((ROOT / "tests").glob("*.py"))) < sum(lines(PATHS.values()))


@every_module
def test_the_words_are_those_of_the_field(name):
    for word, better in WORDS.items():
        assert re.findall(word, TEXTS[name]) == [], f"say {better}"
    names = {
        n.id
        for n in ast.walk(TREES[name])
        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    assert names & UNCLEAR == set(), "say what the variable holds"


def tracked(*folders):
    """Files that git has or would take, or all files where there is no git."""
    command = [
        "git",
        "-C",
        str(ROOT),
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ]
    try:
        done = subprocess.run([*command, *folders], capture_output=True, text=True, check=True)
        paths = [ROOT / name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [
            path for folder in folders for path in [ROOT / folder, *(ROOT / folder).rglob("*")]
        ]
        local = {"__pycache__", "local", "weights", "checkpoints"}
        paths = [path for path in paths if not local & set(path.parts)]
    return [path for path in paths if path.is_file() and path.suffix not in (".png", ".npz")]


@pytest.mark.parametrize("part", [
    "gcnlab", "notebooks", "results", "docs", "README.md", "CHANGES.md", "run_all.sh",
    "pyproject.toml", "constraints.txt", "requirements.lock", "environment.yml", "CITATION.cff",
])  # fmt: skip
def test_no_path_of_one_machine(part):
    hits = []
    for path in tracked(part):
        text = path.read_text(encoding="utf-8", errors="ignore")  # some hold weights
        text = re.sub(r"data:image/\w+;base64,[\w+/=]+", "", text)
        machine = r"(?<![\w.])/(?:work|root|home|Users|tmp|mnt|var)/[\w.-]+\S*"
        hits += [f"{path}: {hit}" for hit in re.findall(machine, text)]
    assert hits == []


# --- dependencies --------------------------------------------------------------------------------


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def required():
    """group → names of the packages that pyproject.toml asks for."""
    groups = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    named = {
        g: {normalised(re.match(r"[\w.-]+", line)[0]) for line in ls} for g, ls in groups.items()
    }
    return {group: names - {"gcnlab"} for group, names in named.items()}


def pins(name):
    """package → version in a requirements file, each once."""
    pairs = re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / name).read_text(encoding="utf-8"), re.M)
    assert len(pairs) == len(dict(pairs))
    return {normalised(package): pinned for package, pinned in pairs}


def test_every_dependency_is_pinned():
    assert set().union(*required().values()) - pins("constraints.txt").keys() == set()


def test_the_lock_has_the_pinned_versions_and_their_hashes():
    with_compiler = required()["crf"]
    pinned = {n: v for n, v in pins("constraints.txt").items() if n not in with_compiler}
    assert pins("requirements.lock") == pinned
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entry = r"[\w.-]+==\S+( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(rf"(#.*\n)+({entry})+", lock)


def test_pins_can_be_installed_on_every_python_of_the_readme():
    """Of what is installed here. Debian 12's Python is 3.11.2."""
    low, high = re.findall(r"3\.\d+", PROJECT["requires-python"])
    newest = f"3.{int(high[2:]) - 1}.0"
    for package, pinned in pins("constraints.txt").items():
        try:
            of = metadata(package)
        except PackageNotFoundError:
            continue
        if of["Version"].split("+")[0] == pinned and package not in required()["crf"]:
            supported = SpecifierSet(of["Requires-Python"] or "")
            assert f"{low}.0" in supported and newest in supported, (package, str(supported))


def test_conda_gets_the_same_packages_and_versions():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["dependencies"]
    plain = {re.match(r"[\w-]+", entry)[0] for entry in entries if isinstance(entry, str)}
    groups = {g: {CONDA_NAMES.get(n, n) for n in names} for g, names in required().items()}
    needed = groups["core"] | groups["notebooks"] | groups["test"]
    assert needed - plain == set() and plain - needed - groups["cluster"] == {"python", "pip"}
    (by_pip,) = (entry["pip"] for entry in entries if isinstance(entry, dict))
    assert by_pip == ["-e ."], "the lines of a requirements file: pip takes no other option there"
    asked = dict(re.match(r"([\w-]+)(.*)", line).groups() for line in PROJECT["dependencies"])
    for name, bound in re.findall(r"- (pytorch|torchvision)(>=[\d.]+)", text):
        assert asked[{"pytorch": "torch"}.get(name, name)] == bound
    low, high = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups())
    assert low <= int(re.search(r"python=3\.(\d+)", text)[1]) < high
    run_all = (ROOT / "run_all.sh").read_text(encoding="utf-8")
    assert f"(3, {low}) <= sys.version_info[:2] <= (3, {high - 1})" in run_all


# --- the README ----------------------------------------------------------------------------------

README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(program):
    """What the README calls with ``program``, in `code` or in code blocks, without comments."""
    inline = re.findall(rf"`(?:[A-Z_]+=\S+ )?{re.escape(program)}\b([^`]*)`", README)
    blocks = re.findall(r"```bash\n(.*?)```", README, re.S)
    typed = [line.split("#")[0] for block in blocks for line in block.splitlines()]
    typed = [line.removeprefix(program) for line in typed if line.startswith(program)]
    return [call.split() for call in [*inline, *typed]]


def test_every_command_of_the_readme_is_understood():
    calls = [["notebooks", *call] for call in commands("./run_all.sh") if call != ["test"]]
    calls += [call for call in commands("python -m gcnlab") if call]
    assert ["notebooks"] in calls
    for call in calls:
        try:
            build_parser().parse_args(call)
        except (SystemExit, UserError) as error:
            pytest.fail(f"README: {' '.join(call)}: {error}")


def test_the_imports_of_the_readme_work():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    code = [line for line in example.splitlines() if line.startswith(("from ", "import "))]
    assert any("gcnlab" in line for line in code)
    exec("\n".join(code), {})


def test_links_of_the_readme_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", README) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []
