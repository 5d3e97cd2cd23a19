"""Executing the notebooks in batch, with papermill, and publishing them as HTML."""

import re
from hashlib import sha256
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from gcnlab import files
from gcnlab.errors import UserError
from gcnlab.experiments.records import COMMITTED, MANIFEST

if TYPE_CHECKING:
    from gcnlab.report.session import Session

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"


class NotebookFailed(RuntimeError):
    """A cell of a notebook failed, and not for bad input."""


def pick(only: str | None) -> list[Path]:
    """The notebooks in order, or those whose numbers ``only`` lists, such as ``01,03``.

    ``UserError`` for a number that no notebook has.
    """
    notebooks = {path.name[:2]: path for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))}
    numbers = list(notebooks) if only is None else [text.strip() for text in only.split(",")]
    for number in numbers:
        if number not in notebooks:
            known = ", ".join(notebooks)
            raise UserError(f"there is no notebook {number!r} (of {only!r}); there are {known}")
    return [notebooks[number] for number in sorted(set(numbers))]


def trained_tables(notebook: Path) -> list[str]:
    """The tables that ``notebook`` trains: the arguments of its ``session.train(…)``."""
    calls = re.findall(r"session\.train\(([^)]*)\)", notebook.read_text(encoding="utf-8"))
    return re.findall(r"\d+", " ".join(calls))


def execute(notebook: Path, folder: Path, parameters: dict[str, Any], origin: str = "") -> Path:
    """Run ``notebook`` with ``parameters``; write it executed, and as HTML, into ``folder``.

    Returns the path of the HTML page, in whose head ``origin`` stands. If a cell fails, the
    notebook is kept up to there, and the error is raised as ``UserError`` if the cell's was one,
    else as :class:`NotebookFailed`.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.iorw import papermill_io

    folder.mkdir(parents=True, exist_ok=True)
    executed, page = folder / notebook.name, (folder / notebook.name).with_suffix(".html")
    # A failing cell's error is in the notebook; the kernel's own log only says how it was ended.
    quiet = {"progress_bar": False, "extra_arguments": ["--IPKernelApp.log_level=50"]}
    options = {"kernel_name": "python3"} | quiet
    papermill_io.register(str(folder), _Whole)
    try:
        papermill.execute_notebook(str(notebook), str(executed), parameters, **options)
    except papermill.PapermillExecutionError as error:
        if error.ename == "UserError":
            raise UserError(error.evalue) from None
        reason = f"{error.ename}: {error.evalue}; see {executed}"
        raise NotebookFailed(f"{notebook.name}: {reason}") from None
    except DeadKernelError:
        reason = "its kernel was killed, perhaps for lack of memory; run the same command again"
        raise NotebookFailed(f"{notebook.name}: {reason}") from None
    files.write(as_html(executed, origin), page)
    return page


class _Whole:
    """How papermill writes an executed notebook, which it does after every cell."""

    @staticmethod
    def write(text: str, path: str) -> None:
        files.write(text, Path(path))

    pretty_path = staticmethod(str)


def publish(session: "Session") -> Path:
    """Execute all notebooks on the records below ``session.out``, training nothing.

    Writes their pages into ``<out>/<profile>/notebooks``; returns the first, which lists them.
    """
    folder = session.out / session.profile.name / "notebooks"
    parameters = {"profile": session.profile.name, "train": False, "out": str(session.out)}
    if session.data_root is not None:
        parameters["data_root"] = str(session.data_root)
    with TemporaryDirectory() as work:
        pages = [execute(n, Path(work), parameters, made_from(n, folder.parent / MANIFEST))
                 for n in pick(None)]  # fmt: skip
        for page in pages:  # all or none: they link each other
            files.write(page.read_text(encoding="utf-8"), folder / page.name)
    return folder / pages[0].name


def made_from(*sources: Path) -> str:
    """Digests of those of ``sources`` that are there, such as a notebook and a manifest."""
    return " ".join(sha256(p.read_bytes()).hexdigest()[:12] for p in sources if p.is_file())


def state_of(session: "Session", parameters: dict[str, Any]) -> str:
    """A digest of all that an executed notebook shows: parameters, code and records."""
    name, digest = session.profile.name, sha256(repr(parameters).encode())
    records = (session.out / name).glob("*/*.json")
    code = Path(__file__).parents[1].rglob("*.*")
    for path in sorted([*records, *code, *FOLDER.glob("*.ipynb"), COMMITTED / name / MANIFEST]):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(bytes(path) + path.read_bytes())
    return digest.hexdigest()[:12]


def is_current(notebook: Path, folder: Path, origin: str) -> bool:
    """Whether the page of ``notebook`` in ``folder`` is whole and names ``origin``."""
    page = (folder / notebook.name).with_suffix(".html")
    return page.is_file() and f'content="{origin}"' in page.read_text(encoding="utf-8")


def as_html(executed: Path, origin: str = "") -> str:
    """An executed notebook as a page that can be published: one file without any script.

    It links other notebooks' pages, and has no cell of given parameters: these name folders.
    ``origin`` is named in its head.
    """
    import nbformat
    from jinja2 import Template
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter

    notebook = nbformat.read(executed, as_version=4)
    given = notebook.metadata.pop("papermill", {}).get("parameters", {})
    hidden = "injected-parameters"
    notebook.cells = [c for c in notebook.cells if hidden not in c.metadata.get("tags", [])]
    plain = {"exclude_input_prompt": True, "exclude_output_prompt": True}
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True, **plain)
    body, _ = exporter.from_notebook_node(notebook)
    template = resources.files("gcnlab.report").joinpath("notebook.html.j2")
    return Template(template.read_text(encoding="utf-8")).render(
        body=body.replace('.ipynb"', '.html"'),
        title=notebook.cells[0].source.splitlines()[0].lstrip("# "),
        given=", ".join(f"{n} = {given[n]}" for n in ("profile", "train", "seeds") if n in given),
        origin=origin,
        colours=HtmlFormatter(style="friendly", nobackground=True).get_style_defs(".highlight"),
    )
