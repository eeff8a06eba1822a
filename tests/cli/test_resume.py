"""A run goes on with what it began with; where its classes lived then does not matter."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from fst.cli.train import check_same_run
from fst.system.errors import InputError
from tests.conftest import ROOT


def composed(*overrides):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("train", ["style=starry_night", "data.root=photos", *overrides])


def test_a_run_begun_before_modules_moved_goes_on():
    began = OmegaConf.create(OmegaConf.to_container(composed()))
    began.optimizer._target_ = "fst.soap.SOAP"
    began.network._target_ = "fst.transformer.build_network"
    began.loss._target_ = "fst.perceptual.PerceptualLoss"
    began.loss.extractor._target_ = "fst.vgg.VGGFeatures"
    check_same_run(composed(), began)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer=adam", "expected optimizer={'_target_': 'SOAP'"),
        ("optimizer.lr=1e-4", "expected optimizer={'_target_': 'SOAP'"),
        ("scheduler=constant", "expected scheduler._target_=OneCycleLR, .* found ConstantLR"),
        ("network.width=32", "expected network={'_target_': 'build_network'"),
        ("loss=johnson2016", "expected loss.normalization=relative, .* found johnson2016"),
        ("shift_weight=0", "expected shift_weight=1, as the run began with, found 0"),
    ],
)
def test_other_settings_than_the_runs_are_refused(override, said):
    with pytest.raises(InputError, match=f"resume: {said}"):
        check_same_run(composed(override), composed())
