"""How fast training is, against a loop as anybody would write it.

Both do the same: the same network, layers, weights, crops, optimizer and terms of the loss. The
*plain* loop (`benchmarks.plain_loop`) is PyTorch as its documentation teaches it, in float32. The
*product* is scripts/train.py with whatever it chooses on this machine. Each runs in a process of
its own, and they take turns. Logging counts; steps at the beginning (compiling, caches) do not, nor
does the last one with its samples and checkpoint, which a real run has once in 50 to 100 steps.

*wait* is the share of the time between steps: waiting for photos, and what Lightning does there.
*of peak* is the products that the plain loop's convolutions and Gram matrices take, over the time,
against *peak*: the best matrix product of this machine, in the precision that it names. Memory is
the GPU's where there is one.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from os import pathsep
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torchvision.models.vgg import cfgs, make_layers

from fst.system.devices import choose_device, resolve_compile

ROOT = Path(__file__).parents[2]
TITLES = {
    "setting": "setting",
    "variant": "variant",
    "images_per_s": "images/s",
    "ratio": "ratio",
    "wait_share": "wait",
    "peak_share": "of peak",
    "peak": "peak",
    "peak_mib": "peak MiB",
}
WARM = 10  # steps of the product that do not count; it compiles in the first
LAYERS = {"vgg16": "D", "vgg19": "E"}
MEANS = ["loss.extractor.mean=[0.485,0.456,0.406]", "loss.extractor.std=[0.229,0.224,0.225]"]

Measured = dict[str, list[dict[str, float]]]  # what `save` wrote in each round, by variant


def run(args: argparse.Namespace) -> Iterator[list[dict[str, object]]]:
    """The two rows of each setting."""
    from benchmarks.floor import measure_rates
    from benchmarks.measuring import find_photos, run_child, say

    picture = find_photos(args.photos)[0]  # any painting takes as long
    peak = measure_rates(choose_device("auto"), args.quick).best
    steps = 3 if args.quick else args.steps
    paths = pathsep.join([str(ROOT / "scripts"), str(ROOT)])
    for setting in args.settings:
        with tempfile.TemporaryDirectory(prefix="fst-") as place:
            weights, meter = Path(place, "random_vgg.pth"), Path(place, "meter.json")
            settings = [
                f"experiment={setting}", "style.name=benchmark",
                f"style.image={picture}", f"data.root={args.photos}",
                f"paths.outputs={place}", f"trainer.max_steps={WARM + steps + 1}", "init=null",
                "trainer.val_check_interval=1000000", "optimizer.lr=1e-9",
                f"loss.extractor.weights={weights}", *MEANS,
            ]  # fmt: skip
            torch.save(random_vgg(settings), weights)
            compiled = not args.quick and resolve_compile("auto", 10**6)
            product = [ROOT / "scripts/train.py", *settings, f"compile={compiled}"]
            product += [f"+callbacks.meter._target_={__name__}.Meter"]
            product += [f"+callbacks.meter.file={meter}"]
            plain = [Path(__file__).with_name("plain_loop.py"), meter, steps, *settings]
            measured: Measured = {"plain": [], "product": []}
            for number in range(args.repeats):
                turns = [("plain", plain), ("product", product)]
                for variant, command in reversed(turns) if number % 2 else turns:
                    say(f"{setting}: {variant}, round {number + 1} of {args.repeats}")
                    _, peak_mib = run_child(*command, PYTHONPATH=paths)
                    row = json.loads(meter.read_text())
                    measured[variant].append({"peak_mib": peak_mib, **row})
            yield rows(setting, measured, *peak)


def rows(setting: str, measured: Measured, precision: str, peak: float) -> list[dict[str, object]]:
    """Medians over the rounds, and the ratio of these; ``peak`` in FLOP/s."""

    def median(variant: str, name: str) -> float:
        return statistics.median(row[name] for row in measured[variant])

    base = median("plain", "images_per_s")
    flops = median("plain", "flops_per_image")
    return [
        {
            "setting": setting,
            "variant": variant,
            "images_per_s": median(variant, "images_per_s"),
            "ratio": median(variant, "images_per_s") / base,
            "wait_share": median(variant, "wait_share"),
            "peak_share": median(variant, "images_per_s") * flops / peak,
            "peak": f"{precision} {peak / 1e12:.3g} TFLOP/s",
            "peak_mib": median(variant, "peak_mib"),
        }
        for variant in measured
    ]


def random_vgg(settings: list[str]) -> dict[str, Tensor]:
    """Weights of the right shapes: the time does not depend on their values."""
    torch.manual_seed(0)
    layers = make_layers(cfgs[LAYERS[compose_config(settings).loss.extractor.arch]])
    return {f"features.{name}": tensor for name, tensor in layers.state_dict().items()}


def compose_config(settings: list[str]) -> DictConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("train", settings)


class Meter(Callback):
    """Of the product: images per second and the share between steps, to a JSON file."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.waited, self.steps = 0.0, 0

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step > WARM:
            self.waited += time.perf_counter() - self.ended

    def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.global_step == WARM:
            self.began = now()
        elif trainer.global_step == trainer.max_steps - 1:
            seconds = now() - self.began
            images = (trainer.global_step - WARM) * trainer.datamodule.batch_size
            save(self.file, images / seconds, self.waited / seconds)
        self.ended = time.perf_counter()


def now() -> float:
    """Seconds of a clock, as soon as the GPU is done with what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def save(file: str, images_per_s: float, wait_share: float, flops: float = 0) -> None:
    row = {"images_per_s": images_per_s, "wait_share": wait_share, "flops_per_image": flops}
    if torch.cuda.is_available():
        row["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    Path(file).write_text(json.dumps(row))
