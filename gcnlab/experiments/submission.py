"""A finished run on the test images of a benchmark server: predicted, checked and packed."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gcnlab.data import cityscapes
from gcnlab.data.palette import PALETTE
from gcnlab.data.readers import OFFICIAL, read_image
from gcnlab.errors import UserError
from gcnlab.experiments.prediction import Predictor, SegmentationRun, write_class_ids, write_png

_LABEL_IDS = np.array(list(cityscapes.LABEL_IDS.values()), np.uint8)


@dataclass(frozen=True)
class Submission:
    """The predictions of one run for the test server of its data.

    VOC: ``results/VOC2012/Segmentation/comp6_test_cls/<name>.png`` (comp6: other data than VOC's
    may be used). Cityscapes: ``<city>_<sequence>_<frame>_labelIds.png`` with official label ids.

    Args:
        key: of the run; the files are collected in ``<out>/submission-<key>``.
    """

    run: SegmentationRun
    key: str
    out: Path
    data_root: Path | None = None

    @property
    def folder(self) -> Path:
        return self.out / f"submission-{self.key}"

    @property
    def is_street(self) -> bool:
        """Whether the server is that of Cityscapes, not of VOC."""
        return self.run.data.source.classes == cityscapes.CLASSES

    def files(self) -> dict[str, Path]:
        """File below :attr:`folder` → its test image; ``UserError`` if the data have no server."""
        spec = self.run.data
        if spec.source.test is None:
            raise UserError(f"data set {spec.name!r} has no test server")
        images = spec.source.test(spec.root(self.data_root))
        if not images:
            raise UserError(f"the test list of {spec.name!r} names no image: {OFFICIAL}")
        return {self._name(image): image for image in images}

    def _name(self, image: Path) -> str:
        if self.is_street:
            return f"{image.name.removesuffix('_leftImg8bit.png')}_labelIds.png"
        return f"results/VOC2012/Segmentation/comp6_test_cls/{image.stem}.png"

    def submit(self, predictor: Predictor, log: Callable[[str], None] = print) -> Path:
        """Predict what is missing, check all, and pack it: the archive to upload."""
        files = self.files()
        for number, (name, image) in enumerate(files.items(), 1):
            if not (self.folder / name).exists():
                self._write(predictor(read_image(image)), self.folder / name)
            if number % 100 == 0:
                log(f"{number} of {len(files)} images")
        self.check()
        kind = "zip" if self.is_street else "gztar"
        return Path(shutil.make_archive(str(self.folder), kind, self.folder))

    def _write(self, classes: np.ndarray, path: Path) -> None:
        """What is in the folder is whole, and expected by the server."""
        if self.is_street:
            write_png(Image.fromarray(_LABEL_IDS[classes]), path)
        else:
            write_class_ids(classes, path)

    def check(self) -> int:
        """Number of predictions; ``UserError`` for the first that the server would refuse.

        One PNG per test image and none besides, as large as its image. VOC expects class ids
        without void and its palette; Cityscapes its official label ids, without a palette.
        """
        files, folder = self.files(), self.folder
        present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        unlike = {"lacks": files.keys() - present, "has no use for": present - files.keys()}
        for problem, names in unlike.items():
            if names:
                problem = f"the server {problem} {len(names)} files, first {min(names)}"
                raise UserError(f"{folder}: {problem}")
        for name, image in files.items():
            self._check_file(folder / name, read_image(image).size)
        return len(files)

    def _check_file(self, path: Path, size: tuple[int, int]) -> None:
        mode, palette, best = (
            ("L", None, "") if self.is_street else ("P", PALETTE, " with VOC's palette")
        )
        try:
            with Image.open(path) as picture:
                picture.verify()  # its checksums; a file can then not be read on
            with Image.open(path) as picture:
                facts = (picture.format, picture.mode, picture.size, picture.getpalette())
                values = set(np.unique(np.array(picture)).tolist())
        except (OSError, SyntaxError) as error:
            reason = f"cannot be read ({error}): delete it and submit again"
            raise UserError(f"{path} {reason}") from None
        if facts != ("PNG", mode, size, palette):
            kind = f"a {facts[0]} of {facts[2][0]}×{facts[2][1]} of mode {facts[1]}"
            best = f"a PNG of {size[0]}×{size[1]} pixels of mode {mode}{best}"
            raise UserError(f"{path} is {kind}: the server expects {best}")
        classes = range(len(self.run.data.source.classes))
        if illegal := values - set(_LABEL_IDS.tolist() if self.is_street else classes):
            raise UserError(f"{path} has the value {min(illegal)}, which is no class of the server")
