"""nas finds, for your own images, the grouped-convolution network with the best accuracy for its compute.

    import nas

    study = nas.search("digits", trials=20)
    for record in study.front():
        print(record.name, record.accuracy, record.flops)

What is heavy is imported on first use, so that only training waits for torch. A module that is imported takes its
name in the package, so none but `cost`, which is imported at once, is named like a function here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nas.architecture import Architecture, Input, Stage, StemConv, fit_groups
from nas.cost import Cost, cost

if TYPE_CHECKING:
    from nas.bundle import export
    from nas.confirming import confirm
    from nas.data import ImageData
    from nas.errors import NasError
    from nas.front_sampler import FrontSampler
    from nas.joining import join
    from nas.loading import load_data
    from nas.network import GroupConvNet, build_network
    from nas.recipe import Recipe
    from nas.records import TrialRecord
    from nas.retraining import retrain
    from nas.searching import search
    from nas.space import SearchSpace, load_space
    from nas.study import Study

_HOMES = {
    "FrontSampler": "front_sampler",
    "GroupConvNet": "network",
    "ImageData": "data",
    "NasError": "errors",
    "Recipe": "recipe",
    "SearchSpace": "space",
    "Study": "study",
    "TrialRecord": "records",
    "build_network": "network",
    "confirm": "confirming",
    "export": "bundle",
    "join": "joining",
    "load_data": "loading",
    "load_space": "space",
    "retrain": "retraining",
    "search": "searching",
}

__all__ = [
    "Architecture",
    "Cost",
    "FrontSampler",
    "GroupConvNet",
    "ImageData",
    "Input",
    "NasError",
    "Recipe",
    "SearchSpace",
    "Stage",
    "StemConv",
    "Study",
    "TrialRecord",
    "build_network",
    "confirm",
    "cost",
    "export",
    "fit_groups",
    "join",
    "load_data",
    "load_space",
    "retrain",
    "search",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(import_module(f"nas.{_HOMES[name]}"), name)
