"""What may end a training, as one line that says how to go on."""

import torch

from fst.system.errors import InputError
from fst.training.checkpoints import StoppedError
from fst.training.data import PATIENCE


def as_input_error(error: BaseException, go_on: str) -> InputError | None:
    """What ended training as one line with the way on; None where the error says enough."""
    text = str(error)
    if isinstance(error, SystemExit):  # how Lightning answers a Ctrl-C that nobody else answers
        return InputError(f"interrupted; {go_on}")
    if isinstance(error, StoppedError):
        return InputError(f"{error}; {go_on}")
    if isinstance(error, torch.OutOfMemoryError):
        return InputError(
            "memory of the GPU: expected more, found it full; try a smaller data.batch_size, "
            "data.crop_size or network.width"
        )
    if isinstance(error, InputError) and "in DataLoader worker" in text:  # with its traceback
        said = text.rstrip().rsplit("\n", 1)[-1].split("Error: ", 1)[-1]
        return InputError(f"{said}; {go_on}")
    if isinstance(error, RuntimeError) and "DataLoader timed out" in text:
        return InputError(
            f"photos: expected a batch within {PATIENCE} s, found none; is the disk of data.root "
            f"still there? {go_on}"
        )
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        return InputError(
            "photos: a process that reads them was killed, maybe for want of memory (try "
            f"data.workers=1); {go_on}"
        )
    return None
