"""Every config file composes, names real objects, and builds what it names."""

import inspect
import re

import hydra
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import ROOT, run_script

CONFIGS = ROOT / "configs"


def choices(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def composed(*overrides):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", overrides=["data.root=photos", *overrides])
    OmegaConf.set_struct(cfg, False)
    return cfg


def own(*overrides):
    return composed("style.name=mine", "style.image=my.jpg", *overrides)


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for child in node.values():
            yield from targets(child)


OURS = {"pytorch_lightning.Trainer": {"profile"}}  # keys that fst train takes out
GROUPS = [
    f"{path.parent.relative_to(CONFIGS).as_posix()}={path.stem}"
    for path in sorted(CONFIGS.rglob("*.yaml"))
    if path.parent != CONFIGS
]


@pytest.mark.slow
@pytest.mark.parametrize("choice", GROUPS)
def test_every_choice_composes_and_its_keys_are_arguments_of_its_targets(choice):
    cfg = (
        own(choice) if choice.startswith("style=custom") else composed("style=starry_night", choice)
    )
    if choice == "style=custom":
        cfg = own()
    found = list(targets(OmegaConf.to_container(cfg, resolve=True)))
    assert len(found) >= 8
    for node in found:
        target = hydra.utils.get_object(node["_target_"])
        parameters = inspect.signature(target).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue  # build_network and the logger pass them on
        known = set(parameters) | OURS.get(node["_target_"], set())
        unknown = {key for key in node if not key.startswith("_")} - known
        assert not unknown, f"{node['_target_']}: {unknown}"


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_preset_says_its_command_and_builds_its_network(name):
    text = (CONFIGS / "experiment" / f"{name}.yaml").read_text()
    assert f"fst train style=starry_night experiment={name} data.root=" in text
    cfg = own(f"experiment={name}")
    net = hydra.utils.instantiate(cfg.network)
    assert sum(p.numel() for p in net.parameters()) > 0


def test_johnson2016_is_the_papers_recipe():
    cfg = own("experiment=johnson2016")
    assert cfg.trainer.max_steps == 40_000
    assert (cfg.data.batch_size, cfg.data.crop_size, cfg.network.width) == (4, 256, 32)
    assert cfg.optimizer.lr == 1e-3
    assert cfg.scheduler._target_.endswith("ConstantLR")
    assert cfg.loss.extractor.arch == "vgg16"
    assert cfg.loss.normalization == "johnson2016"
    assert list(cfg.loss.content) == ["relu2_2"]
    assert list(cfg.loss.style) == ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]


def test_constant_schedule_keeps_the_rate():
    import torch

    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = hydra.utils.instantiate(own("scheduler=constant").scheduler)(optimizer)
    for _ in range(3):
        optimizer.step()
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == 1e-3


@pytest.mark.parametrize("name", [style for style in choices("style") if style != "custom"])
def test_style_presets_say_where_the_painting_can_be_had(name):
    style = composed(f"style={name}").style
    assert style.name == name
    assert style.title
    assert style.painter
    assert style.image.endswith(f"{name}.jpg")
    if style.painter == "fst":
        assert (ROOT / style.image).is_file()
        return
    assert re.fullmatch(r"https://\S+", style.page)
    assert 1400 < style.year < 1950


def test_environment_variables_reach_the_config(monkeypatch):
    monkeypatch.setenv("FST_PAINTINGS", "/somewhere")
    monkeypatch.setenv("FST_VGG_WEIGHTS", "/vgg.safetensors")
    cfg = composed("style=great_wave")
    assert cfg.style.image == "/somewhere/great_wave.jpg"
    assert cfg.loss.extractor.weights == "/vgg.safetensors"
    assert composed("style=great_wave", "paths.paintings=/b").style.image == "/b/great_wave.jpg"


def test_presets_say_how_long_they_take_and_what_to_expect():
    for path in (CONFIGS / "experiment").glob("*.yaml"):
        header = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
        assert re.search(r"minutes|seconds|hours", header), path


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("evaluate", ["styles=a", "photos=b"]),
        ("optimize", ["style=udnie", "photo=b.jpg"]),
    ],
)
def test_the_other_scripts_compose_and_name_real_objects(name, given):
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose(name, overrides=given)
    found = list(targets(OmegaConf.to_container(cfg, resolve=True)))
    assert len(found) >= 2
    for node in found:
        parameters = inspect.signature(hydra.utils.get_object(node["_target_"])).parameters
        known = set(parameters) | OURS.get(node["_target_"], set())
        assert {key for key in node if not key.startswith("_")} <= known


def test_the_gatys5_measure_is_that_of_its_name():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        gatys5 = compose("evaluate", overrides=["styles=a", "photos=b"]).gatys5
    assert dict(gatys5.style) == {f"relu{block}_1": 0.2 for block in range(1, 6)}
    assert dict(gatys5.content) == {"relu4_2": 1}
    assert gatys5.extractor.arch == "vgg19"
    assert gatys5.normalization == "relative"


@pytest.mark.slow
def test_the_script_shows_its_config():
    result = run_script("train", "style=starry_night", "data.root=photos", "--cfg", "job")
    assert result.returncode == 0, result.stderr
    assert yaml.safe_load(result.stdout)["network"]["width"] == 16
