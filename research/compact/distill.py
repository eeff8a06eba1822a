"""Train the compact loss network to say of pictures what VGG-19 says.

python -m research.compact.distill data.root=PHOTOS paths.paintings=PAINTINGS
python -m research.compact.distill data.root=PHOTOS start=FILE stylizers_from=0
python -m research.compact.distill data.root=PHOTOS ckpt_path=RUN/checkpoints/last.ckpt

From the repository's root. It takes VGG-19's weights, a folder of photos, a folder of paintings
named as the shipped styles are, and the shipped styles themselves.
"""

import datetime
import sys
from contextlib import redirect_stdout
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from fst import __version__
from fst.cli.composing import config_errors, quiet_lightning, run_alone, with_target_name
from fst.cli.failures import as_input_error
from fst.images import find_images, flatten, read_photo, resize_shorter, to_tensor
from fst.losses.compact import LAYERS, NAME
from fst.styles import find_style, load_style, shipped_styles
from fst.system.devices import resolve_compile, resolve_precision
from fst.system.errors import InputError, check_whole
from fst.system.files import check_folder, make_folder
from fst.system.process import cores
from fst.training.checkpoints import AtomicCheckpointIO
from research.compact.distillation import Distillation
from research.compact.pictures import WIDTH, Mixer
from research.compact.procedural_paintings import paint_by_rule
from research.compact.student import load_student, save_student
from research.compact.stylizers import AdversarialStylizers

LIMITS = "predicts VGG-19 on photos and painted pictures of 64 px and more; relu5_1 least"
PAINTING = 640  # px, the most of a shorter side
PROCEDURAL = 360  # px, of paintings made by rule


def distill(cfg: DictConfig) -> Path:
    """Run the training; gives the file of the student."""
    check_whole("trainer.max_steps", cfg.trainer.max_steps, 1)
    check_whole("stylizers", cfg.stylizers, 1)
    cfg.trainer.precision = resolve_precision(cfg.trainer.precision, cfg.trainer.accelerator)
    OmegaConf.resolve(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    run = Path(cfg.paths.run)
    check_folder(run)
    photos = instantiate(cfg.data)
    photos.setup()
    paintings, nets = find_styles(cfg)
    teacher = instantiate(cfg.teacher)(list(LAYERS))
    if cfg.start:
        student, start = load_student(Path(str(cfg.start)).expanduser())
    else:
        student, start = instantiate(cfg.network), None
    more = find_pictures(cfg)
    # from seed 100 on: the product's own painting, tides, has seed 4
    procedural = [to_tensor(paint_by_rule(PROCEDURAL, 100 + k)) for k in range(cfg.procedural)]
    mixer = Mixer(nets, [paintings, more, procedural], cfg.stylizers)
    module = Distillation(
        student,
        teacher,
        mixer,
        AdversarialStylizers(mixer, student),
        instantiate(cfg.optimizer),
        instantiate(cfg.scheduler),
        cfg.gram_weight,
        cfg.stylizers_from,
        resolve_compile(cfg.compile, cfg.trainer.max_steps),
        start is not None,
    )
    settings = OmegaConf.to_container(cfg.trainer)
    del settings["profile"]
    trainer = instantiate(
        settings,
        callbacks=list(instantiate(cfg.callbacks).values()),
        logger=instantiate(cfg.logger),
        plugins=[AtomicCheckpointIO()],
    )
    make_folder(run)
    OmegaConf.save(cfg, run / "config.yaml")
    with redirect_stdout(sys.stderr):
        try:
            trainer.fit(module, photos, ckpt_path=cfg.ckpt_path)
        except (Exception, SystemExit) as error:
            again = f"go on with: ckpt_path={run}/checkpoints/last.ckpt"
            if said := as_input_error(error, again):
                raise said from error
            raise
        if "held_out/grams" not in trainer.callback_metrics:  # the last steps were no interval
            trainer.validate(module, photos, verbose=False)
    path = run / f"{NAME}.safetensors"
    save_student(path, module.release_net(), describe(cfg, module, start, len(more)))
    return path


def find_styles(cfg: DictConfig) -> tuple[list[Tensor], list[nn.Module]]:
    """The paintings that the student may see, and the shipped networks of them."""
    folder = Path(str(cfg.paths.paintings)).expanduser()
    files = [path for path in find_images(folder) if path.stem not in cfg.held_out]
    if not files:
        raise InputError(
            f"{folder}: expected paintings, found none; set paths.paintings or FST_PAINTINGS"
        )
    nets = []
    for name in sorted({path.stem for path in files} & set(shipped_styles())):
        net, card = load_style(find_style(name))
        if card["network"]["arguments"]["width"] == WIDTH:
            nets.append(net)
    if not nets:
        raise InputError(f"{folder}: expected a painting of a shipped style, found none")
    return read_pictures(files), nets


def find_pictures(cfg: DictConfig) -> list[Tensor]:
    """The pictures beside the paintings."""
    if cfg.pictures is None:
        return []
    files = find_images(Path(str(cfg.pictures)).expanduser())
    if not files:
        raise InputError(f"{cfg.pictures}: expected pictures, found none; try pictures=null")
    return read_pictures(files)


def read_pictures(files: list[Path]) -> list[Tensor]:
    """Pictures, the shorter side of larger ones scaled down to `PAINTING`."""

    def one(path: Path) -> Tensor:
        image = flatten(read_photo(path))
        return to_tensor(resize_shorter(image, PAINTING) if min(image.size) > PAINTING else image)

    with ThreadPool(cores()) as pool:
        return pool.map(one, files)


def describe(
    cfg: DictConfig, module: Distillation, start: dict[str, Any] | None, more: int
) -> dict[str, object]:
    """What the file says of itself, without any path of this machine."""
    before = start["training"] if start else None
    teacher = with_target_name(OmegaConf.to_container(cfg.teacher))
    teacher["weights"] = Path(teacher["weights"]).name
    metrics = module.trainer.callback_metrics
    held_out = {name: metrics[f"held_out/{name}"].item() for name in ("activations", "grams")}
    return {
        "network": {"name": NAME, "arguments": module.net.arguments},
        "teacher": teacher,
        "training": {
            "steps": module.trainer.global_step,
            "photos": len(module.trainer.datamodule.train_paths),
            "crop_size": cfg.data.crop_size,
            "batch_size": cfg.data.batch_size,
            "held_out_paintings": list(cfg.held_out),
            "gram_weight": cfg.gram_weight,
            "stylizers": cfg.stylizers,
            "stylizers_from": cfg.stylizers_from,
            "procedural_paintings": cfg.procedural,
            "gathered_pictures": more,
            "optimizer": with_target_name(OmegaConf.to_container(cfg.optimizer)),
            "held_out_errors": held_out,  # before its weights became integers
            "before": before,
        },
        "limits": LIMITS,
        "versions": {"fst": __version__, "torch": torch.__version__},
        "date": datetime.date.today().isoformat(),
        "licence": "MIT, as fst",
    }


@hydra.main(
    version_base="1.3", config_path=str(Path(__file__).parent / "configs"), config_name="distill"
)
def run_hydra(cfg: DictConfig) -> None:
    with config_errors():
        print(distill(cfg))


def main() -> None:
    quiet_lightning()
    run_alone(run_hydra)


if __name__ == "__main__":
    main()
