"""The presets against the published settings, row by row, with the file of the code each row comes from."""

from __future__ import annotations

import pytest

from sats.config import RunConfig
from sats.data.layouts import LAYOUTS
from sats.methods import METHODS, Method
from sats.recipes import RECIPES, recipe

VOC = ("19-1", "15-5", "15-1", "10-1", "5-3")
ADE = ("100-50", "100-10", "100-5", "50-50", "50-10", "25-25", "10-10")
MIB_FAMILY = ("finetune", "joint", "lwf", "lwf-mc", "ilt", "ewc", "pi", "rw", "mib")

# data, protocols, methods: batch, rate of step 0 and later, epochs of step 0 and later
OPTIMISATION = [
    ("voc", VOC, MIB_FAMILY, (24, 0.01, 0.001, 30, 30)),  # fcdl94/MiB README.md, argparser.py
    ("ade", ADE, MIB_FAMILY, (24, 0.01, 0.001, 60, 60)),  # fcdl94/MiB README.md
    ("voc", ("19-1", "15-5", "15-1"), ("plop",), (24, 0.01, 0.001, 30, 30)),  # PLOP scripts/voc/plop_*.sh
    ("voc", ("10-1",), ("plop",), (24, 0.01, 0.001, 30, 10)),  # PLOP scripts/voc/plop_10-1.sh
    ("ade", ("100-50", "100-10", "100-5"), ("plop",), (24, 0.01, 0.001, 60, 60)),  # PLOP scripts/ade/*.sh
    ("voc", VOC, ("ssul",), (32, 0.01, 0.01, 50, 50)),  # clovaai/SSUL README.md, main.py
    ("ade", ADE, ("ssul",), (24, 0.01, 0.05, 100, 100)),  # clovaai/SSUL README.md, main.py
    ("voc", ("15-5", "10-1", "5-3"), ("sats",), (24, 0.01, 0.001, 30, 30)),  # SATS scripts/voc/sats_segformer_*.sh
    ("voc", ("15-1",), ("sats",), (24, 0.01, 0.001, 30, 3)),  # SATS scripts/voc/sats_segformer_15-1.sh
    ("ade", ("100-50", "100-10", "100-5"), ("sats",), (24, 0.01, 0.001, 60, 6)),  # SATS scripts/ade; step 0: the paper
    ("ade", ("25-25", "50-10", "50-50"), ("sats",), (24, 0.01, 0.001, 60, 60)),  # SATS scripts/ade/inno4_*
    ("voc", VOC, ("ewf",), (24, 0.01, 0.001, 30, 30)),  # EWF scripts/voc/*.sh
    ("ade", ("100-50",), ("ewf",), (48, 0.01, 0.001, 60, 60)),  # EWF scripts/ade/mib+ours_100-50.sh
    ("ade", ("100-10", "100-5"), ("ewf",), (24, 0.01, 0.001, 60, 60)),  # EWF scripts/ade/mib_ade_100-*.sh
    ("voc", ("10-1", "15-1"), ("dft",), (24, 0.02, 0.0005, 30, 30)),  # RevisitingCSS ft_*.sh, ResNet-101
    ("voc", ("15-5",), ("dft",), (24, 0.02, 0.02, 30, 30)),  # the same
    ("voc", ("19-1",), ("dft",), (24, 0.02, 0.005, 30, 30)),  # the same
    ("ade", ("100-5",), ("dft",), (24, 0.02, 0.05, 30, 60)),  # the same
    ("ade", ("100-10", "100-50", "50-50"), ("dft",), (24, 0.02, 0.1, 30, 60)),  # the same
]

# method, data, protocol: the weights of its losses
WEIGHTS = [
    ("mib", "voc", "15-1", {"distillation": 10.0}),  # MiB argparser.py
    ("lwf", "voc", "15-1", {"distillation": 100.0}),  # the same
    ("lwf-mc", "voc", "15-1", {"distillation": 10.0}),  # the same
    ("ilt", "voc", "15-1", {"distillation": 100.0, "features": 100.0}),  # the same
    ("ewc", "voc", "15-1", {"penalty": 500.0, "alpha": 0.9}),  # the same
    ("pi", "voc", "15-1", {"penalty": 500.0}),  # the same
    ("rw", "voc", "15-1", {"penalty": 100.0, "alpha": 0.9, "every": 10}),  # the same, utils/regularizer.py
    ("plop", "voc", "15-1", {"pod.factor": 0.01, "pod.logits_factor": 0.0005, "pod.scales": (1, 2, 4)}),  # PLOP
    ("plop", "ade", "100-10", {"pod.factor": 0.001, "pod.logits_factor": 0.00001}),  # PLOP scripts/ade/*.sh
    ("sats", "voc", "15-1", {"distillation": 20.0, "attention_transfer.weight": 20.0}),  # SATS argparser.py
    ("sats", "ade", "100-10", {"distillation": 20.0, "attention_transfer.weight": 20.0}),  # the same
    ("sats", "ade", "25-25", {"distillation": 20.0, "attention_transfer.weight": 30.0}),  # scripts/ade/inno4_ade_25-25
    ("sats", "ade", "50-10", {"attention_transfer.weight": 30.0}),  # scripts/ade/inno4_ade_50-10, the command
    ("ssul", "voc", "15-1", {"sure": 0.7}),  # SSUL main.py
    ("ewf", "voc", "15-1", {"base": "mib", "distillation": 10.0}),  # EWF scripts
    ("ewf", "ade", "100-10", {"distillation": 100.0}),  # the same
    ("ewf", "ade", "100-50", {"distillation": 10.0}),  # the same
    ("mib", "voc", "15-1", {"pretuning.epochs": 5, "pretuning.lr_factor": 1.0}),  # NeST scripts/voc
    ("mib", "ade", "100-5", {"pretuning.epochs": 15, "pretuning.lr_factor": 500.0}),  # NeST scripts/ade
]


def field(part: object, path: str) -> object:
    for name in path.split("."):
        part = getattr(part, name)
    return part


def optimisation(config: RunConfig[Method]) -> tuple[float, ...]:
    train = config.train
    epochs = (train.epochs_of(0), train.epochs_of(1))
    return (train.batch_size, config.optim.lr, config.optim.lr_later, *epochs)


@pytest.mark.parametrize(("data", "protocols", "methods", "expected"), OPTIMISATION)
def test_optimisation(
    data: str, protocols: tuple[str, ...], methods: tuple[str, ...], expected: tuple[float, ...]
) -> None:
    for protocol in protocols:
        for method in methods:
            assert optimisation(recipe(f"{data}-{protocol}", method)) == expected, (protocol, method)


@pytest.mark.parametrize(("method", "data", "protocol", "expected"), WEIGHTS)
def test_weights_of_losses(method: str, data: str, protocol: str, expected: dict[str, object]) -> None:
    config = recipe(f"{data}-{protocol}", method)
    assert {path: field(config.method, path) for path in expected} == expected


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [f"voc-{protocol}" for protocol in VOC] + [f"ade-{protocol}" for protocol in ADE])
def test_what_all_published_runs_share(name: str, method: str) -> None:
    config = recipe(name, method)
    optim, model = config.optim, config.model
    assert (optim.optimizer, optim.momentum, optim.weight_decay, optim.power) == ("sgd", 0.9, 1e-4, 0.9)
    assert (model.name, model.decoder_size) == ("segformer-b2", 256)
    assert config.stream.protocol == name.split("-", 1)[1]
    assert config.recipe == name
    assert config.evaluation.mode == "crop"
    assert (config.train.scale, config.train.flip, config.train.colour) == ((0.5, 2.0), True, 0.0)
    assert (config.train.crop, config.train.scaling) == ((513, "zoom") if method == "ssul" else (512, "area"))
    assert optim.factors.encoder == (0.1 if method == "ssul" else 1.0)
    assert config.evaluation.future == ("ignore" if method in MIB_FAMILY else "background")
    assert config.evaluation.background == ("ignore" if method in MIB_FAMILY and name.startswith("ade") else "count")
    assert config.data.void == ("background" if method in MIB_FAMILY and name.startswith("voc") else "ignore")
    assert config.train.precision == ("no" if method in MIB_FAMILY else "fp16")  # MiB: apex O0; the others O1 or amp
    assert optim.warmup == (0.1 if method == "ssul" and name.startswith("ade") else 0.0)  # SSUL main.py
    assert (config.data.saliency == "everywhere") == (method == "ssul" and name.startswith("ade"))


@pytest.mark.parametrize("method", METHODS)
def test_the_published_memory(method: str) -> None:
    """100 exemplars on VOC and 300 on ADE20K: SSUL README.md; SATS, section 4; joint training has none."""
    for data, protocol, size in (("voc", "15-1", 100), ("ade", "100-50", 300)):
        plain, memory = recipe(f"{data}-{protocol}", method), recipe(f"{data}-{protocol}-m", method)
        assert plain.memory.size == 0
        assert memory.memory.size == (0 if method == "joint" else size)
        assert memory.memory.selection == ("ssul" if method == "ssul" else "balanced")
        assert memory.memory.labels == ("own" if method == "joint" else "seen")  # SATS run.py; SSUL datasets/voc.py
        assert optimisation(plain) == optimisation(memory)


def test_voc_is_learned_in_the_fields_order() -> None:
    order = LAYOUTS[recipe("voc-15-1", "sats").data.source].classes[1:]
    assert (order[0], order[14], order[15], order[19]) == ("aeroplane", "person", "pottedplant", "tvmonitor")
    assert len(order) == 20
    assert LAYOUTS[recipe("ade-100-50", "sats").data.source].classes[1] == "wall"


def test_every_protocol_of_the_field_has_a_preset() -> None:
    assert set(RECIPES) >= {f"voc-{protocol}" for protocol in VOC} | {f"ade-{protocol}" for protocol in ADE}
