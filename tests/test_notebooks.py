"""The notebooks are thin, clean and linked; each runs, trained or not, and shows its pictures."""

import ast
import getpass
import json
import re
from hashlib import sha256

import nbformat
import pytest

from gcnlab.analysis.tables import SPECS
from gcnlab.errors import UserError
from gcnlab.experiments.records import COMMITTED
from gcnlab.report import notebooks
from gcnlab.report.session import Session

NOTEBOOKS = {path.name[:2]: path for path in sorted(notebooks.FOLDER.glob("*.ipynb"))}
DEFAULTS = {
    "profile": "quick",
    "train": False,
    "seeds": 1,
    "jobs": 1,
    "data_root": None,
    "out": None,
}
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|work|tmp|Users|var)/\w")
LONGEST, WIDEST = 25, 110  # lines of a cell, and columns: a published page shows no more
DRAWN = {"shapes-tiny", "streets-tiny"}  # by us, and in a moment

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS.values(), ids=list(NOTEBOOKS))


def cells(path, kind=None):
    every = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in every if kind in (None, cell["cell_type"])]


def sources(path, kind):
    return ["".join(cell["source"]) for cell in cells(path, kind)]


def guarded_calls(path):
    """(called attribute, tests of the ``if`` branches around it) for every call in ``path``."""

    def visit(node, guards):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr, guards
        for name, child in ast.iter_fields(node):
            inside = guards
            if isinstance(node, ast.If) and name == "body":
                inside = [*guards, ast.unparse(node.test)]
            for part in child if isinstance(child, list) else [child]:
                if isinstance(part, ast.AST):
                    yield from visit(part, inside)

    return list(visit(ast.parse("\n".join(sources(path, "code"))), []))


# --- on disk --------------------------------------------------------------------------------------


def test_numbers_are_contiguous():
    assert [int(number) for number in NOTEBOOKS] == list(range(len(NOTEBOOKS)))
    names = [path.name for path in notebooks.FOLDER.glob("*.ipynb")]
    assert len(names) == len(NOTEBOOKS), "one notebook per number"


@each_notebook
def test_nothing_executed_is_committed(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)  # cells have ids, and these are unique
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}, "traces of an execution"
        assert not cell.get("outputs") and cell.get("execution_count") is None


@each_notebook
def test_the_first_code_cell_declares_the_parameters_and_their_defaults(path):
    tagged = [cell for cell in cells(path) if "parameters" in cell["metadata"].get("tags", [])]
    assert tagged == cells(path, "code")[:1]
    declared = {}
    exec("".join(tagged[0]["source"]), declared)
    assert {name: value for name, value in declared.items() if name in DEFAULTS} == DEFAULTS


@each_notebook
def test_notebooks_are_thin(path):
    for text in sources(path, "code"):
        assert 1 <= len(text.splitlines()) <= LONGEST, text
        assert max(map(len, text.splitlines())) <= WIDEST, text
        nodes = list(ast.walk(ast.parse(text)))
        functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        assert functions <= {"show"}, "what a slider redraws; all else belongs into the package"
        assert not {type(node) for node in nodes} & {ast.ClassDef, ast.Lambda, ast.While, ast.Try}


@each_notebook
def test_trains_only_if_told_to(path):
    work = {"train", "train_variant", "train_ablations", "measure", "run"}
    assert [
        name for name, guards in guarded_calls(path) if name in work and "train" not in guards
    ] == []


@each_notebook
def test_photographs_are_never_shown(path):
    """Executed notebooks are published; only images that we drew may be in them."""
    showing = {"qualitative", "examples", "figure3"}
    assert set(re.findall(r'DataSpec\("([^"]+)"', "\n".join(sources(path, "code")))) <= DRAWN
    for name, guards in guarded_calls(path):
        assert name not in showing or re.search("has_examples|can_show", " ".join(guards)), name


def test_every_table_is_trained_in_a_notebook_that_names_it():
    *single, overview = list(NOTEBOOKS.values())[1:]
    trained = {path: notebooks.trained_tables(path) for path in single}
    assert {table for tables in trained.values() for table in tables} == set(SPECS)
    assert notebooks.trained_tables(overview) == list(SPECS)
    for path, tables in trained.items():
        title = sources(path, "markdown")[0].splitlines()[0]
        named = re.search(r"\(((?:.* )?(?:Tables?|Fig\.|section) .+)\)$", title)
        assert title.startswith(f"# {int(path.name[:2])}. ") and named, title
        if "Table" in title:
            assert set(tables) <= set(re.findall(r"\d+", named[1])), title


@each_notebook
def test_links_lead_to_notebooks_and_to_the_one_before_and_the_next(path):
    linked = set(re.findall(r"\]\(([^)]+\.ipynb)\)", "\n".join(sources(path, "markdown"))))
    names = [other.name for other in NOTEBOOKS.values()]
    assert linked <= set(names)
    at = names.index(path.name)
    last = set(re.findall(r"\]\(([^)]+\.ipynb)\)", sources(path, "markdown")[-1]))
    assert {*names[max(0, at - 1) : at], *names[at + 1 : at + 2]} <= last


def test_the_default_profile_has_a_committed_study():
    assert Session(DEFAULTS["profile"]).study_records


PUBLISHED = sorted(COMMITTED.glob("*/notebooks/*.html"))


def test_a_study_that_is_published_has_all_pages_and_is_linked():
    studies = {page.parent for page in PUBLISHED}
    for folder in studies:
        pages = {page.stem for page in folder.glob("*.html")}
        assert pages == {path.stem for path in NOTEBOOKS.values()}
        assert sum(page.stat().st_size for page in folder.iterdir()) < 4e6
    default = COMMITTED / DEFAULTS["profile"] / "notebooks"
    start = f"results/{default.parent.name}/notebooks/{NOTEBOOKS['00'].stem}.html"
    assert default in studies and start in (COMMITTED.parent / "README.md").read_text()


@pytest.mark.parametrize("page", PUBLISHED, ids=lambda page: f"{page.parts[-3]}-{page.stem[:2]}")
def test_published_pages_are_current_and_hold_nothing_of_a_machine(page):
    """`python -m gcnlab report --profile PROFILE --out results --notebooks` makes them anew."""
    source = notebooks.FOLDER / f"{page.stem}.ipynb"
    files = (source, page.parents[1] / "manifest.json")
    digests = " ".join(sha256(file.read_bytes()).hexdigest()[:12] for file in files)
    text = page.read_text(encoding="utf-8")
    assert f'<meta name="made-from" content="{digests}">' in text, "the notebook or records changed"
    assert "photos" not in page.parts and "paper" not in page.parts
    visible = re.sub(r"base64,[\w+/=]+", "", text)
    assert not MACHINE_PATH.search(visible) and getpass.getuser() + "@" not in visible
    faults = r"Traceback \(|output_stderr|output_error|Warning:|<script|ipykernel"
    assert re.findall(faults, visible) == []
    linked = set(re.findall(r'(?:src|href)="(?!https://arxiv|data:|#)([^"#]+)"', visible))
    assert linked <= {page.name for page in PUBLISHED} | {"../report.html"}


def test_the_start_lists_every_notebook():
    rows = re.findall(r"^\| \[?`(\d\d)`", sources(NOTEBOOKS["00"], "markdown")[0], re.M)
    assert rows == list(NOTEBOOKS)


# --- executed -------------------------------------------------------------------------------------


@pytest.fixture
def one_thread(monkeypatch):
    """The kernel is a process of its own: on busy cores more threads only wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Where all notebooks of this module keep their runs, so that each is trained once."""
    return tmp_path_factory.mktemp("notebooks") / "out"


@pytest.mark.slow
@each_notebook
def test_runs_with_training(path, out, tmp_path, one_thread):
    before = path.read_bytes()
    parameters = DEFAULTS | {"profile": "smoke", "train": True, "out": str(out)}
    page = notebooks.execute(path, tmp_path, parameters)
    assert path.read_bytes() == before, "the notebook itself is not written to"

    session = Session("smoke", out=out)
    wanted = (
        session.configs(notebooks.trained_tables(path)) if notebooks.trained_tables(path) else []
    )
    assert all(session.store.is_complete(run) for run in wanted)
    outputs = [output for cell in cells(tmp_path / path.name, "code") for output in cell["outputs"]]
    assert "<figure>" in json.dumps(outputs), "at least one chart"
    html = re.sub(r"base64,[\w+/=]+", "", page.read_text(encoding="utf-8"))
    assert page.stem == path.stem and not MACHINE_PATH.search(html)


@pytest.mark.slow
def test_shows_not_run_where_nothing_was_run(tmp_path, one_thread):
    path, empty = NOTEBOOKS["08"], tmp_path / "out"
    parameters = {"profile": "smoke", "out": str(empty)}
    html = notebooks.execute(path, tmp_path / "executed", parameters).read_text(encoding="utf-8")
    assert "not run" in html and "random weights" in html
    assert not empty.exists(), "nothing is trained"


@pytest.mark.slow
def test_a_failing_cell_is_reported_and_what_ran_is_kept(tmp_path, one_thread, caught):
    with pytest.raises(UserError) as info:
        notebooks.execute(NOTEBOOKS["04"], tmp_path, {"profile": "nonsense"})
    assert "nonsense" in caught(info) and "smoke" in caught(info)
    executed = tmp_path / NOTEBOOKS["04"].name
    assert executed.is_file() and not executed.with_suffix(".html").exists()
