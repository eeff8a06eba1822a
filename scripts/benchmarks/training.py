"""How fast training is, against a loop as anybody would write it.

Both do the same: the same network, layers, weights, crops, optimiser and terms of the loss. The
*plain* loop is PyTorch as its documentation teaches it, in float32: torchvision's VGG and
transforms, ``nn.InstanceNorm2d``, autograd. The *product* is scripts/train.py with whatever it
chooses on this machine. Each runs in a process of its own, and they take turns. Steps at the
beginning (compiling, caches) do not count, nor does the last one with its samples and checkpoint,
which a real run has once in 50 to 100 steps; logging does.

*wait* is the share of the time between steps: waiting for photos, and what Lightning does there.
*of peak* is the products that the plain loop's convolutions and Gram matrices take, over the time,
against the best matrix product of this machine in bf16.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.io import ImageReadMode, read_image
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms import v2

ROOT = Path(__file__).parents[2]
TITLES = {
    "setting": "setting",
    "variant": "variant",
    "images_per_s": "images/s",
    "ratio": "ratio",
    "wait_share": "wait",
    "peak_share": "of peak",
    "peak_mib": "peak MiB",
}
WARM = 10  # steps of the product that do not count; it compiles in the first
LAYERS = {"vgg16": "D", "vgg19": "E"}


def run(args: argparse.Namespace) -> Iterator[list[dict[str, object]]]:
    """The two rows of each setting."""
    from benchmarks.floor import measure_rates
    from benchmarks.measuring import find_photos, run_child, say

    picture = find_photos(args.photos)[0]  # any painting takes as long
    peak = measure_rates(torch.device("cpu"), args.quick).products["bf16"]
    steps = 3 if args.quick else args.steps
    for setting in args.settings:
        with tempfile.TemporaryDirectory(prefix="fst-") as place:
            weights = Path(place) / "random_vgg.pth"
            settings = [
                f"experiment={setting}", "style.name=benchmark",
                f"style.image={picture}", f"data.root={args.photos}",
                f"paths.outputs={place}", f"trainer.max_steps={WARM + steps + 1}", "init=null",
                "trainer.val_check_interval=1000000", "optimizer.lr=1e-9",
                f"loss.extractor.weights={weights}", *MEANS,
            ]  # fmt: skip
            torch.save(random_vgg(settings), weights)
            compiled = "false" if args.quick else "true"
            product = [ROOT / "scripts/train.py", *settings, f"compile={compiled}"]
            product += [f"+callbacks.meter._target_={__name__}.Meter"]
            product += [f"+callbacks.meter.file={place}/found.json"]
            plain = [Path(__file__), f"{place}/found.json", str(steps), *settings]
            found: dict[str, list[dict[str, float]]] = {"plain": [], "product": []}
            for number in range(args.repeats):
                turns = [("plain", plain), ("product", product)]
                for variant, command in reversed(turns) if number % 2 else turns:
                    say(f"{setting}: {variant}, round {number + 1} of {args.repeats}")
                    _, peak_mib = run_child(*command, PYTHONPATH=str(ROOT / "scripts"))
                    row = json.loads((Path(place) / "found.json").read_text())
                    found[variant].append({**row, "peak_mib": peak_mib})
            yield rows(setting, found, peak)


def rows(
    setting: str, found: dict[str, list[dict[str, float]]], peak: float
) -> list[dict[str, object]]:
    """Medians over the rounds, and the ratio of these."""

    def median(variant: str, name: str) -> float:
        return statistics.median(row[name] for row in found[variant])

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
            "peak_mib": median(variant, "peak_mib"),
        }
        for variant in found
    ]


MEANS = ["loss.extractor.mean=[0.485,0.456,0.406]", "loss.extractor.std=[0.229,0.224,0.225]"]


def random_vgg(settings: list[str]) -> dict[str, Tensor]:
    """Weights of the right shapes: the time does not depend on their values."""
    torch.manual_seed(0)
    layers = make_layers(cfgs[LAYERS[composed(settings).loss.extractor.arch]])
    return {f"features.{name}": tensor for name, tensor in layers.state_dict().items()}


def composed(settings: list[str]) -> DictConfig:
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
        self.ended = time.perf_counter()
        if trainer.global_step == WARM:
            self.began = self.ended
        elif trainer.global_step == trainer.max_steps - 1:
            seconds = self.ended - self.began
            images = (trainer.global_step - WARM) * trainer.datamodule.batch_size
            save(self.file, images / seconds, self.waited / seconds)


def save(file: str, images_per_s: float, wait_share: float, flops: float = 0) -> None:
    found = {"images_per_s": images_per_s, "wait_share": wait_share, "flops_per_image": flops}
    Path(file).write_text(json.dumps(found))


# --- the plain loop -------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv(width, width, 3), nn.ReLU(), *conv(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.ReflectionPad2d(kernel // 2),
        nn.Conv2d(inputs, outputs, kernel, stride),
        nn.InstanceNorm2d(outputs, affine=True),
    ]


def plain_net(width: int) -> nn.Module:
    return nn.Sequential(
        *conv(3, width, 9), nn.ReLU(),
        *conv(width, 2 * width, 3, 2), nn.ReLU(),
        *conv(2 * width, 4 * width, 3, 2), nn.ReLU(),
        *(Residual(4 * width) for _ in range(5)),
        nn.Upsample(scale_factor=2), *conv(4 * width, 2 * width, 3), nn.ReLU(),
        nn.Upsample(scale_factor=2), *conv(2 * width, width, 3), nn.ReLU(),
        nn.ReflectionPad2d(4), nn.Conv2d(width, 3, 9), nn.Sigmoid(),
    )  # fmt: skip


class PlainLoss(nn.Module):
    """Content, style and total variation from torchvision's VGG."""

    def __init__(self, cfg: DictConfig, painting: Tensor) -> None:
        super().__init__()
        self.cfg = cfg
        self.vgg = make_layers(cfgs[LAYERS[cfg.extractor.arch]])
        state = torch.load(cfg.extractor.weights, weights_only=True)
        self.vgg.load_state_dict({key.removeprefix("features."): state[key] for key in state})
        self.vgg.requires_grad_(False)
        self.mean = torch.tensor(cfg.extractor.mean).view(1, 3, 1, 1)
        self.std = torch.tensor(cfg.extractor.std).view(1, 3, 1, 1)
        with torch.no_grad():
            features = self.features(painting, list(cfg.style))
            self.grams = {name: self.gram(features[name]) for name in cfg.style}

    def features(self, images: Tensor, names: list[str]) -> dict[str, Tensor]:
        found, x, block, number = {}, (images - self.mean) / self.std, 1, 0
        for layer in self.vgg:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                block, number = block + 1, 0
            elif isinstance(layer, nn.ReLU):
                number += 1
                found[f"relu{block}_{number}"] = x
                if found.keys() >= set(names):
                    break
        return found

    def gram(self, features: Tensor) -> Tensor:
        flat = features.flatten(2)
        return flat @ flat.transpose(1, 2) / flat.shape[2]

    def forward(self, stylized: Tensor, photos: Tensor) -> Tensor:
        found = self.features(stylized, [*self.cfg.style, *self.cfg.content])
        with torch.no_grad():
            wanted = self.features(photos, list(self.cfg.content))
        content = sum(F.mse_loss(found[name], wanted[name]) for name in self.cfg.content)
        style = sum(
            F.mse_loss(self.gram(found[name]), gram.expand(len(photos), -1, -1))
            for name, gram in self.grams.items()
        )
        tv = stylized.diff(dim=2).abs().mean() + stylized.diff(dim=3).abs().mean()
        return content + self.cfg.style_weight * style + self.cfg.tv_weight * tv


class PlainPhotos(Dataset):
    def __init__(self, root: str, crop: int, count: int) -> None:
        self.paths = sorted(Path(root).rglob("*.jpg"))
        self.count = count
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(crop, scale=(0.4, 1), ratio=(1, 1)),
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, k: int) -> Tensor:
        path = self.paths[k % len(self.paths)]
        return self.transform(read_image(str(path), ImageReadMode.RGB))


def plain_loop(file: str, steps: str, *settings: str) -> None:
    """Train as anybody would for some steps, and write what `Meter` writes, and the products."""
    cfg = composed(list(settings))
    loss = PlainLoss(cfg.loss, torch.rand(1, 3, cfg.style.size, cfg.style.size))
    net = plain_net(cfg.network.width)
    optimizer = instantiate(cfg.optimizer)(net.parameters())
    batch, warm = cfg.data.batch_size, 2
    photos = PlainPhotos(cfg.data.root, cfg.data.crop_size, batch * (int(steps) + warm))
    loader = iter(DataLoader(photos, batch, num_workers=cfg.data.workers))
    began = waited = flops = 0.0
    for number in range(int(steps) + warm):
        start = time.perf_counter()
        if number == warm:
            began, waited = start, 0.0
        images = next(loader)
        waited += time.perf_counter() - start
        with FlopCounterMode(display=False) if number == 0 else torch.enable_grad() as counted:
            stylized = net(images)
            total = loss(stylized, images)
            if cfg.shift_weight:
                some = slice((batch + 1) // 2), slice(None), slice(4, None), slice(4, None)
                total = total + cfg.shift_weight * F.mse_loss(net(images[some]), stylized[some])
            optimizer.zero_grad()
            total.backward()
        if number == 0:
            flops = counted.get_total_flops() / batch
        if cfg.trainer.gradient_clip_val:
            nn.utils.clip_grad_norm_(net.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
    seconds = time.perf_counter() - began
    save(file, int(steps) * batch / seconds, waited / seconds, flops)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"
    plain_loop(*sys.argv[1:])
