"""Finds, for your own images, the grouped-convolution network with the best accuracy for its compute.

    import nas

    study = nas.search("digits", trials=20)
    for record in study.front():
        print(record.name, record.accuracy, record.flops)

Heavy modules are imported on first use, so that only training waits for torch. Importing a submodule binds its name
in the package, which would shadow a lazily imported one, so no direct submodule shares a name with an export.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nas.architectures.architecture import Architecture, Input, Stage, StemConv, fit_groups
from nas.architectures.cost import Cost, cost

if TYPE_CHECKING:
    from nas.analysis.prediction import predict
    from nas.architectures.network import GroupConvNet, build_network
    from nas.data.images import ImageData
    from nas.data.loading import load_data
    from nas.errors import NasError
    from nas.exporters.bundle import export
    from nas.spaces.built_in import load_space
    from nas.spaces.search_space import SearchSpace
    from nas.strategy.front_sampler import FrontSampler
    from nas.study.records import TrialRecord
    from nas.study.study import Study
    from nas.training.recipe import Recipe
    from nas.workers.join import join
    from nas.workflows.confirm import confirm
    from nas.workflows.enqueue import enqueue
    from nas.workflows.retrain import retrain
    from nas.workflows.search import search
    from nas.workflows.tune_recipe import tune_recipe

_HOMES = {
    "FrontSampler": "strategy.front_sampler",
    "GroupConvNet": "architectures.network",
    "ImageData": "data.images",
    "NasError": "errors",
    "Recipe": "training.recipe",
    "SearchSpace": "spaces.search_space",
    "Study": "study.study",
    "TrialRecord": "study.records",
    "build_network": "architectures.network",
    "confirm": "workflows.confirm",
    "enqueue": "workflows.enqueue",
    "export": "exporters.bundle",
    "join": "workers.join",
    "load_data": "data.loading",
    "load_space": "spaces.built_in",
    "predict": "analysis.prediction",
    "retrain": "workflows.retrain",
    "search": "workflows.search",
    "tune_recipe": "workflows.tune_recipe",
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
    "enqueue",
    "export",
    "fit_groups",
    "join",
    "load_data",
    "load_space",
    "predict",
    "retrain",
    "search",
    "tune_recipe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(import_module(f"nas.{_HOMES[name]}"), name)
