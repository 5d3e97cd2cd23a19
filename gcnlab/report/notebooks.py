"""Executing the notebooks in batch, with papermill, and publishing them as HTML."""

import re
import sys
from pathlib import Path
from typing import Any

from gcnlab import files
from gcnlab.errors import UserError

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


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """``UserError`` for a parameter that ``notebook`` lacks: papermill would ignore it."""
    import papermill

    known = papermill.inspect_notebook(str(notebook))
    for name in parameters:
        if name not in known:
            raise UserError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(known)}")


def execute(notebook: Path, folder: Path, parameters: dict[str, Any]) -> Path:
    """Run ``notebook`` with ``parameters``; write it executed, and as HTML, into ``folder``.

    Returns the path of the HTML page. If a cell fails, the notebook is kept up to there, and the
    error is raised as ``UserError`` if the cell's was one, else as :class:`NotebookFailed`.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.iorw import papermill_io

    check_parameters(notebook, parameters)
    folder.mkdir(parents=True, exist_ok=True)
    executed, page = folder / notebook.name, (folder / notebook.name).with_suffix(".html")
    quiet = {"progress_bar": False, "extra_arguments": ["--IPKernelApp.log_level=40"]}
    options = {"kernel_name": "python3", "stdout_file": sys.stdout} | quiet
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
    files.write(as_html(executed), page)
    return page


class _Whole:
    """How papermill writes an executed notebook, which it does after every cell."""

    @staticmethod
    def write(text: str, path: str) -> None:
        files.write(text, Path(path))

    pretty_path = staticmethod(str)


def as_html(executed: Path) -> str:
    """An executed notebook as a page that can be published.

    It links other notebooks' pages, and has no cell of given parameters: these name folders.
    """
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata.pop("papermill", None)
    given = "injected-parameters"
    notebook.cells = [c for c in notebook.cells if given not in c.metadata.get("tags", [])]
    html, _ = HTMLExporter(exclude_input_prompt=True).from_notebook_node(notebook)
    return html.replace('.ipynb"', '.html"')
