"""Photos for training: any folder of pictures, or a COCO annotation file and its pictures.

The training photos are one endless stream in which photo k is a function of the seed and k alone:
which file, which crop, flipped or not. So the workers' number changes nothing, and a resumed run
goes on with exactly the photos that it would have seen.

Files that cannot be used (damaged, no picture, tiny) are replaced by others, counted, and reported
once by name. Sources of the crop: Johnson et al. resize COCO to 256x256 squares; here a random
square of the photo is scaled to the crop's size, which never squashes. Of a photo longer than 2.5
times its width it is always the middle square.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from fst.images import flatten, read_photo, resize_shorter, to_tensor
from fst.system.errors import InputError, check_whole
from fst.training.photos import leave_out, list_photos, split_photos

MIN_SIDE = 64  # px: smaller photos are blur once they fill a crop
MIN_CROP_AREA = 0.4  # of the photo's area, where a square of it fits; smaller crops are blur
PATIENCE = 300  # seconds for a batch of photos, which take a fraction of one
MAX_TRIES = 100  # unusable files in a row before the folder is given up


class TooSmallError(InputError):
    """A photo that would be blur in a crop."""


def read_for_training(path: Path) -> Tensor:
    """A photo as ``(3, H, W)`` uint8 RGB, on white where transparent.

    Raises:
        InputError: Unreadable.
        TooSmallError: Its shorter side is under 64 px.
    """
    image = flatten(read_photo(path))
    if min(image.size) < MIN_SIDE:
        raise TooSmallError(
            f"{path}: expected at least {MIN_SIDE} px, found {image.width}x{image.height}"
        )
    return v2.functional.pil_to_tensor(image)


def load_painting(path: str | Path, size: int) -> Tensor:
    """A painting as ``(3, H, W)`` RGB in [0, 1], its shorter side scaled to ``size`` px.

    Never squashed or cropped. Its size against the crops' decides how large the strokes come out.

    Raises:
        InputError: No such picture, or its shorter side or ``size`` is under 64 px.
    """
    check_whole("style.size", size, MIN_SIDE)
    image = flatten(read_photo(path))
    if min(image.size) < MIN_SIDE:
        raise InputError(
            f"{path}: expected a painting of at least {MIN_SIDE} px on its shorter side, found "
            f"{image.width}x{image.height}; try a larger picture"
        )
    return to_tensor(resize_shorter(image, size))


class PhotoStream(Dataset):
    """Endless random crops; item k is ``((3, crop, crop) uint8, names of unusable files)``.

    Raises:
        InputError: 100 files in a row are unusable.
    """

    def __init__(self, paths: Sequence[Path], crop_size: int, seed: int) -> None:
        self.paths, self.seed = paths, seed
        self.augment = v2.Compose(
            [
                v2.RandomResizedCrop(crop_size, scale=(MIN_CROP_AREA, 1), ratio=(1, 1)),
                v2.RandomHorizontalFlip(),
            ]
        )
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __getitem__(self, k: int) -> tuple[Tensor, list[str]]:
        epoch, place = divmod(k, len(self.paths))
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffle(epoch)
        skipped: list[str] = []
        for attempt in range(min(MAX_TRIES, len(self.paths))):
            path = self.paths[self._order[(place + attempt) % len(self.paths)]]
            try:
                photo = read_for_training(path)
            except InputError as error:
                skipped.append(str(error))
                continue
            with torch.random.fork_rng(devices=[]):  # looking at a photo changes no other draw
                # torch.manual_seed would look at GPUs, too, and take longer than decoding
                torch.default_generator.manual_seed(self.seed * 1_000_003 + k)
                return self.augment(photo), skipped
        raise InputError(
            f"photos: expected usable ones, found {len(skipped)} unusable; {skipped[-1]}"
        )

    def _shuffle(self, epoch: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        return torch.randperm(len(self.paths), generator=generator).numpy()


class HeldOutPhotos(Dataset):
    """The middle square of each held-out photo, scaled to the crop's size, the same every time."""

    def __init__(self, paths: Sequence[Path], crop_size: int) -> None:
        self.paths, self.crop_size = paths, crop_size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, k: int) -> tuple[Tensor, list[str]]:
        image = resize_shorter(flatten(read_photo(self.paths[k])), self.crop_size)
        square = v2.functional.center_crop(image, [self.crop_size, self.crop_size])
        return v2.functional.pil_to_tensor(square), []


class _Share(Sampler):
    """The photos of one process, in blocks of a batch: the others' blocks lie between them.

    Lightning counts the batches before a resume as seen, so the length must not shrink.

    Args:
        batches: Of one process, those before a resume among them.
        done: Batches before a resume.
        batch_size: Photos in each.
        rank: The process, of ``processes``.
    """

    def __init__(self, batches: int, done: int, batch_size: int, rank: int, processes: int) -> None:
        together = processes * batch_size
        self.first = range(done * together + rank * batch_size, batches * together, together)
        self.batch_size, self.length = batch_size, batches * batch_size

    def __iter__(self) -> Iterator[int]:
        return (first + k for first in self.first for k in range(self.batch_size))

    def __len__(self) -> int:
        return self.length


def _ignore_interrupts(_worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the one that trains decides what follows."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass
class _Batch:
    """Crops as an array: tensors pass between processes as files, which takes 4 ms a step."""

    crops: np.ndarray | Tensor  # (N, H, W, 3) uint8
    skipped: list[str]

    @classmethod
    def of(cls, items: list[tuple[Tensor, list[str]]]) -> "_Batch":
        crops = np.stack([photo.permute(1, 2, 0).numpy() for photo, _ in items])
        return cls(crops, [name for _, names in items for name in names])

    def pin_memory(self) -> "_Batch":
        """Called by the loader where there is a GPU."""
        return _Batch(torch.as_tensor(self.crops).pin_memory(), self.skipped)


class PhotoDataModule(pl.LightningDataModule):
    """Batches of photos ``(N, 3, crop_size, crop_size)`` RGB float32 in [0, 1].

    Args:
        root: Folder of photos, flat or nested.
        crop_size: Side of the training crops in px, at least 64.
        batch_size: Photos per step.
        held_out: Photos kept for validation; fixed whatever the seed.
        annotations: COCO JSON file whose photos to use; its file names are relative to ``root``.
        exclude: Text file of photos to leave out, one name relative to ``root`` by line, as
            ``scripts/check_data.py --list`` writes it.
        workers: Processes that decode photos; 0 decodes in the training process.
        seed: Fixes files, crops and flips.
    """

    def __init__(
        self,
        root: str | Path,
        crop_size: int,
        batch_size: int,
        held_out: int = 32,
        annotations: str | Path | None = None,
        exclude: str | Path | None = None,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_whole("data.crop_size", crop_size, MIN_SIDE)
        check_whole("data.batch_size", batch_size, 1)
        check_whole("data.held_out", held_out, 1)
        check_whole("data.workers", workers, 0)
        self.root, self.annotations, self.exclude = Path(root).expanduser(), annotations, exclude
        self.crop_size, self.batch_size = crop_size, batch_size
        self.held_out, self.workers, self.seed = held_out, workers, seed
        self.skipped: dict[str, None] = {}  # messages in order of appearance, each once
        self.train_paths: Sequence[Path] = ()
        self.val_paths: list[Path] = []

    def setup(self, stage: str | None = None) -> None:
        if self.train_paths:
            return
        paths = list_photos(self.root, self.annotations)
        if self.exclude is not None:
            paths = leave_out(paths, Path(self.exclude).expanduser())
        self.train_paths, self.val_paths = split_photos(paths, self.held_out, self._usable)
        if not self.val_paths:
            raise InputError(
                f"{self.root}: expected usable photos, found {next(iter(self.skipped))}"
            )

    def _usable(self, path: Path) -> bool:
        try:
            read_for_training(path)
        except InputError as error:
            self.skipped.setdefault(str(error))
            return False
        return True

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        assert trainer is not None
        done, batches = (
            steps * trainer.accumulate_grad_batches
            for steps in (trainer.global_step, trainer.max_steps)
        )
        share = _Share(batches, done, self.batch_size, trainer.global_rank, trainer.world_size)
        return DataLoader(
            PhotoStream(self.train_paths, self.crop_size, self.seed),
            batch_size=self.batch_size,
            sampler=share,
            num_workers=self.workers,
            timeout=PATIENCE if self.workers else 0,
            worker_init_fn=_ignore_interrupts,
            collate_fn=_Batch.of,
            pin_memory=torch.cuda.is_available(),
        )

    def photos_a_step(self) -> int:
        """Of all processes and accumulated batches together."""
        assert self.trainer is not None
        return self.batch_size * self.trainer.accumulate_grad_batches * self.trainer.world_size

    def state_dict(self) -> dict[str, int]:
        return {"photos_a_step": self.photos_a_step()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        count = self.photos_a_step()
        if count != state["photos_a_step"]:
            raise InputError(
                f"resume: expected {state['photos_a_step']} photos a step (data.batch_size times "
                "processes times trainer.accumulate_grad_batches), as the run began with, found "
                f"{count}"
            )

    def held_out_photos(self) -> HeldOutPhotos:
        return HeldOutPhotos(self.val_paths, self.crop_size)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(
            self.held_out_photos(),
            batch_size=self.batch_size,
            collate_fn=_Batch.of,
        )

    def on_before_batch_transfer(self, batch: _Batch, _: int) -> Tensor:
        self.skipped.update(dict.fromkeys(batch.skipped))
        return torch.as_tensor(batch.crops).permute(0, 3, 1, 2)  # channels-last

    def on_after_batch_transfer(self, batch: Tensor, _: int) -> Tensor:
        return batch.float().div_(255)

    def summary(self) -> dict[str, object]:
        """What a style file says of the photos."""
        return {
            "photos": len(self.train_paths),
            "held_out": len(self.val_paths),
            "skipped": len(self.skipped),
            "crop_size": self.crop_size,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }


def photos_of(trainer: pl.Trainer) -> PhotoDataModule:
    """The photos of a training that runs."""
    return trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it when it runs
