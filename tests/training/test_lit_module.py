from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from fst.networks import build_network
from fst.system.errors import InputError
from fst.training.lit_module import StyleModule, TrainingLostError
from tests.losses.test_losses import make_loss


def make_module(net=None, scheduler=None, shift_weight=0):
    torch.manual_seed(0)
    loss = make_loss()
    loss.set_style(torch.rand(1, 3, 64, 64))
    net = net or build_network("transformer", width=2)
    return StyleModule(net, loss, partial(torch.optim.Adam, lr=1e-2), scheduler, shift_weight)


def fit(module, steps=3, **options):
    torch.manual_seed(1)
    photos = [torch.rand(2, 3, 32, 32) for _ in range(steps)]
    trainer = pl.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
        num_sanity_val_steps=0, limit_val_batches=1, **options,
    )  # fmt: skip
    loaders = [torch.utils.data.DataLoader(photos, batch_size=None) for _ in range(2)]
    trainer.fit(module, *loaders)
    return trainer


def test_only_the_network_is_optimised_and_saved():
    module = make_module()
    before = {name: value.clone() for name, value in module.loss.state_dict().items()}
    optimizer = module.configure_optimizers()
    count = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert count == sum(p.numel() for p in module.net.parameters())
    fit(module)
    for name, value in module.loss.state_dict().items():
        assert torch.equal(value, before[name]), name
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    assert set(checkpoint["state_dict"]) == {f"net.{name}" for name in module.net.state_dict()}


def test_every_term_and_the_output_are_logged():
    trainer = fit(make_module())
    logged = set(trainer.logged_metrics)
    terms = {"total", "content", "style", "tv", "content_relu3_1", "style_relu1_1", "style_relu2_1"}
    assert {f"loss/{name}" for name in terms} <= logged
    assert {f"output/{name}" for name in ("mean", "std", "min", "max")} <= logged
    assert {"optimizer/gradient_norm", "optimizer/learning_rate"} <= logged


def test_the_shift_error_is_part_of_the_total():
    trainer = fit(make_module(shift_weight=20))
    logged = {k.removeprefix("loss/"): v.item() for k, v in trainer.logged_metrics.items()}
    terms = 10 * logged["style"] + logged["content"] + 0.1 * logged["tv"] + 20 * logged["shift"]
    assert logged["shift"] > 0
    assert logged["total"] == pytest.approx(terms, rel=1e-4)


def test_a_new_term_needs_no_edit_here():
    class Extra(nn.Module):
        def forward(self, stylized, photos):
            zero = stylized.mean() * 0
            terms = dict.fromkeys(["content", "style", "tv"], zero)
            return {"total": (stylized - 0.2).square().mean(), **terms, "sparkle": zero + 3}

    torch.manual_seed(0)
    net = build_network("transformer", width=2)
    module = StyleModule(net, Extra(), partial(torch.optim.Adam, lr=1e-3))
    assert fit(module).logged_metrics["loss/sparkle"] == 3


def test_the_schedule_steps_every_step():
    schedule = partial(torch.optim.lr_scheduler.LambdaLR, lr_lambda=lambda step: 1 / (1 + step))
    trainer = fit(make_module(scheduler=schedule), steps=4)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-2 / 5)


def test_nan_stops_with_the_first_bad_term_and_the_step():
    module = make_module()
    module.loss.grams["relu2_1"].data[0, 0, 0] = torch.nan
    with pytest.raises(
        TrainingLostError, match="stopped at step 0: the loss term style is nan; try"
    ):
        fit(module)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change():
    module = make_module()
    before = [parameter.detach().clone() for parameter in module.net.parameters()]
    module.net.decoder[3].bias.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(
        TrainingLostError, match="stopped at step 0: the gradient is (inf|nan); try"
    ):
        fit(module)
    for parameter, old in zip(module.net.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_a_flat_output_stops():
    net = build_network("transformer", width=2)
    nn.init.zeros_(net.decoder[3].weight)
    with pytest.raises(TrainingLostError, match="the network's output is one flat colour"):
        fit(make_module(net))


def test_blank_photos_may_come_out_blank():
    net = build_network("transformer", width=2)
    nn.init.zeros_(net.decoder[3].weight)
    module, blank = make_module(net), torch.full((2, 3, 32, 32), 0.5)
    module._check({"total": torch.tensor(1.0)}, module(blank), blank)
    with pytest.raises(TrainingLostError):
        module._check({"total": torch.tensor(1.0)}, module(blank), torch.rand(2, 3, 32, 32))


def test_a_checkpoint_of_another_network_is_refused():
    module = make_module()
    checkpoint = {"state_dict": make_module(build_network("transformer", width=4)).state_dict()}
    with pytest.raises(
        InputError, match=r"resume: expected net.encoder.0.1.weight of shape \(2, 3"
    ):
        module.on_load_checkpoint(checkpoint | {"lr_schedulers": []})
    with pytest.raises(
        InputError, match=r"expected net.encoder.0.1.weight .* the checkpoint has none"
    ):
        module.on_load_checkpoint({"state_dict": {}, "lr_schedulers": []})


def test_bf16_gives_the_losses_of_float32_within_a_percent():
    torch.manual_seed(3)
    photos = torch.rand(2, 3, 32, 32)
    module = make_module()
    exact = module.loss(module(photos), photos)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = module.loss(module(photos), photos)
    for name in ("style", "content"):
        torch.testing.assert_close(mixed[name], exact[name], rtol=0.02, atol=0)


def test_only_passes_with_gradients_are_compiled():
    module = make_module(shift_weight=1)
    photos, shapes = torch.rand(2, 3, 32, 32), []
    module._fast = lambda batch: shapes.append(tuple(batch.shape)) or module.net(batch)
    for number in range(5):
        module._compare(photos, number)
    assert set(shapes) == {(2, 3, 32, 32), (1, 3, 28, 28)}  # whatever the shift: two compilations
    with torch.no_grad():
        module._compare(photos, 0)
    assert len(shapes) == 10
