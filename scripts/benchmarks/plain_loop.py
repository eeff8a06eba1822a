"""Training as PyTorch's documentation teaches it: what `benchmarks.training` compares with.

In float32: torchvision's VGG and transforms, ``nn.InstanceNorm2d``, autograd; the same network,
layers, weights, crops, optimizer and terms of the loss as the product.

    python plain_loop.py FILE STEPS [settings of `fst train`]
"""

import os
import sys
import time
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.io import ImageReadMode, read_image
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms import v2

from benchmarks.training import LAYERS, compose_config, now, save
from fst.system.devices import choose_device

WARM = 2  # steps that do not count


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
        for name in "mean", "std":
            value = torch.tensor(cfg.extractor[name]).view(1, 3, 1, 1)
            self.register_buffer(name, value)
        self.to(painting.device)
        with torch.no_grad():
            features = self.features(painting, list(cfg.style))
            self.grams = {name: self.gram(features[name]) for name in cfg.style}

    def features(self, images: Tensor, names: list[str]) -> dict[str, Tensor]:
        features, x, block, number = {}, (images - self.mean) / self.std, 1, 0
        for layer in self.vgg:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                block, number = block + 1, 0
            elif isinstance(layer, nn.ReLU):
                number += 1
                features[f"relu{block}_{number}"] = x
                if features.keys() >= set(names):
                    break
        return features

    def gram(self, features: Tensor) -> Tensor:
        flat = features.flatten(2)
        return flat @ flat.transpose(1, 2) / flat.shape[2]

    def forward(self, stylized: Tensor, photos: Tensor) -> Tensor:
        features = self.features(stylized, [*self.cfg.style, *self.cfg.content])
        with torch.no_grad():
            wanted = self.features(photos, list(self.cfg.content))
        content = sum(F.mse_loss(features[name], wanted[name]) for name in self.cfg.content)
        style = sum(
            F.mse_loss(self.gram(features[name]), gram.expand(len(photos), -1, -1))
            for name, gram in self.grams.items()
        )
        tv = stylized.diff(dim=2).abs().mean() + stylized.diff(dim=3).abs().mean()
        return content + self.cfg.style_weight * style + self.cfg.tv_weight * tv


class PlainPhotos(Dataset):
    def __init__(self, root: str, crop: int, count: int) -> None:
        self.paths = sorted(Path(root).rglob("*.jp*g"))
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


def train(file: str, steps: int, settings: list[str]) -> None:
    """Train for some steps; write what the product's meter writes, and the products of an image."""
    cfg, device = compose_config(settings), choose_device("auto")
    painting = torch.rand(1, 3, cfg.style.size, cfg.style.size, device=device)
    loss, net = PlainLoss(cfg.loss, painting), plain_net(cfg.network.width).to(device)
    optimizer = instantiate(cfg.optimizer)(net.parameters())
    batch = cfg.data.batch_size
    photos = PlainPhotos(cfg.data.root, cfg.data.crop_size, batch * (steps + WARM))
    loader = iter(DataLoader(photos, batch, num_workers=cfg.data.workers))
    began = waited = flops = 0.0
    for number in range(steps + WARM):
        if number == WARM:
            began, waited = now(), 0.0
        start = time.perf_counter()
        images = next(loader)
        waited += time.perf_counter() - start
        images = images.to(device)
        with FlopCounterMode(display=False) if number == 0 else torch.enable_grad() as counter:
            stylized = net(images)
            total = loss(stylized, images)
            if cfg.shift_weight:
                some = slice((batch + 1) // 2), slice(None), slice(4, None), slice(4, None)
                total = total + cfg.shift_weight * F.mse_loss(net(images[some]), stylized[some])
            optimizer.zero_grad()
            total.backward()
        if number == 0:
            flops = counter.get_total_flops() / batch
        if cfg.trainer.gradient_clip_val:
            nn.utils.clip_grad_norm_(net.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
    seconds = now() - began
    save(file, steps * batch / seconds, waited / seconds, flops)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"
    train(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
