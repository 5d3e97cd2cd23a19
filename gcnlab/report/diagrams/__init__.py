"""The paper's schematic figures, redrawn and kept as SVG (kernels of k = 7, 21 classes)."""

from importlib.resources import files

NUMBERS = (1, 2, 4, 5)  # networks compared, the framework, the heads, the residual blocks


def diagram(number: int) -> str:
    """The SVG text of the paper's Fig. 1, 2, 4 or 5, with its description as ``aria-label``.

    In a notebook: ``IPython.display.SVG(diagram(2))``.
    """
    return files(__name__).joinpath(f"figure{number}.svg").read_text(encoding="utf-8")
