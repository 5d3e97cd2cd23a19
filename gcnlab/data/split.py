"""One split of a data set: decoded samples, in order or shuffled, with a limit on memory."""

import hashlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain, islice
from threading import Lock

import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from gcnlab.data.decode import Decoded
from gcnlab.data.prefetch import in_a_thread, in_processes, workers_that_pay
from gcnlab.data.transforms import Pair, random_flip
from gcnlab.errors import UserError

Batch = tuple[Tensor, Tensor, list[tuple[int, int]]]  # images, labels, unpadded sizes
LARGE = 100_000  # images: of more, files are not read before work starts, only named


class Memory:
    """How many bytes of decoded images one process keeps, over all its splits."""

    def __init__(self, limit: int):
        self.limit, self.reserved = limit, 0
        self._lock = Lock()

    def reserve(self, size: int) -> int:
        """``size``, or 0 if so much is not left."""
        with self._lock:
            granted = size if self.reserved + size <= self.limit else 0
            self.reserved += granted
            return granted

    def release(self, size: int) -> None:
        with self._lock:
            self.reserved -= size


MEMORY = Memory(4 << 30)


class Split:
    """One split, prepared: ``split[i]`` → image, label, and the unpadded (height, width).

    Images are (3, H, W) uint8; the label is a map (H, W) uint8 of class ids with 255 = void, or a
    class id for classification data. Nothing is read before the first access. A split that fits
    into what is left of :data:`MEMORY` is kept from then on, another is decoded as it is used.

    Args:
        decode: sample → image, label, size.
        evaluation: what is done to a decoded image that is evaluated; None: nothing.
        training: what is done to a decoded image and its label, with a generator, in training.

    Raises:
        UserError: no samples; at an access, a damaged file.
    """

    def __init__(
        self,
        samples: Sequence,
        decode: Callable[..., Decoded],
        evaluation: Callable[[Tensor], Tensor] | None = None,
        training: Callable[[Tensor, Tensor, torch.Generator], Pair] | None = None,
    ):
        if not samples:
            raise UserError("the data set has an empty list of images: check its list files")
        self.samples = samples
        self._decode, self._evaluation, self._training = decode, evaluation, training
        self._kept: dict[int, Decoded] = {}
        self._room: int | None = None  # bytes; None before the first access
        self._fits = False
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.samples)

    def _decoded(self, index: int) -> Decoded:
        item = self._kept.get(index)
        if item is None:
            item = self._decode(self.samples[index])
            with self._lock:
                self._keep(index, item)
        return item

    def _keep(self, index: int, item: Decoded) -> None:
        size = item[0].nbytes + item[1].nbytes
        if self._room is None:  # as a rule all images are of one size
            self._room = MEMORY.reserve(size * len(self))
            self._fits = self._room > 0
            weakref.finalize(self, MEMORY.release, self._room)
        if index not in self._kept and size <= self._room:
            self._room -= size
            self._kept[index] = item

    def __getitem__(self, index: int) -> Decoded:
        image, label, size = self._decoded(index)
        return (image if self._evaluation is None else self._evaluation(image)), label, size

    def check(self) -> None:
        """Read every file, keep nothing; ``UserError`` for the first damaged one.

        More than ``LARGE`` files are not read: a damaged one then stops the run that meets it.
        """
        if len(self) <= LARGE:
            with ThreadPoolExecutor() as pool:
                any(pool.map(lambda sample: self._decode(sample) and None, self.samples))

    def batches(
        self, numbers: Iterable[Sequence[int]], item: Callable,
        flip: Callable = lambda _, *pair: pair,
    ) -> Iterator[Batch]:  # fmt: skip
        """Stacked batches of ``item(number)`` for lists of numbers, several made ahead, in order.

        ``flip`` is told a batch's numbers, images and labels, and gives images and labels. Of a
        split that is kept in memory a thread makes them, of another one worker processes.
        """

        def make(batch: Sequence[int]) -> Batch:
            # Decoding leaves Python's lock alone, so threads serve; what is in memory needs none.
            in_memory = len(self._kept) == len(self) or len(batch) == 1 or get_worker_info()
            items = map(item, batch) if in_memory else readers.map(item, batch)
            images, labels, sizes = zip(*items, strict=True)
            return *flip(batch, torch.stack(images), torch.stack(labels)), list(sizes)

        numbers = iter(numbers)
        with ThreadPoolExecutor() as readers:
            first = [make(batch) for batch in islice(numbers, 1)]  # which shows whether all fit
            workers = 0 if self._fits or not first else workers_that_pay(first[0][0].nbytes)
            rest = in_processes(make, numbers, workers) if workers else in_a_thread(make, numbers)
            yield from chain(first, rest)

    def shuffled(self, batch_size: int, seed: int, first: int, last: int,
                 part: tuple[int, int] = (0, 1)) -> Iterator[Pair]:  # fmt: skip
        """Training batches ``first`` … ``last`` − 1: every epoch in a new order, flipped at random.

        Batch i is a function of (seed, i), so that a resumed run sees the data it would have seen.
        ``part`` (i, n): only the images i, i + n, … of each batch. ``UserError`` if that is no
        equal part.
        """
        number, parts = part
        if batch_size % parts:
            problem = f"a batch of {batch_size} images has no {parts} equal parts"
            raise UserError(f"{problem}: use a number of processes that divides it")

        @lru_cache(maxsize=2)
        def order(epoch: int) -> list[int]:
            return torch.randperm(len(self), generator=_generator(seed, epoch, 0)).tolist()

        def item(position: int) -> Decoded:
            image, label, size = self._decoded(order(position // len(self))[position % len(self)])
            if self._training is not None:
                image, label = self._training(image, label, _generator(seed, position, 2))
            return image, label, size

        def positions(step: int) -> range:
            coming = range(step * batch_size, (step + 1) * batch_size)
            for position in (coming[0], coming[-1]):  # here, not once in every reader thread
                order(position // len(self))
            return coming[number::parts]

        def flip(coming: range, images: Tensor, labels: Tensor) -> Pair:
            return random_flip(images, labels, _generator(seed, coming[0] // batch_size, 1), part)

        for images, labels, _ in self.batches(map(positions, range(first, last)), item, flip):
            yield images, labels


def _generator(*parts: int) -> torch.Generator:
    """Seeded by a digest of integers, so that neighbouring seeds and steps share no stream."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
