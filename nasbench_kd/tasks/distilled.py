"""Tasks whose answers are judged by distilled accuracy: transformers taught by a ResNet-56, ResNets by a ResNet-110.

Their sources trained every network once and tested it on the images that the task's accuracies are of: the
noise between trainings is not known, and nothing is held out from a search (`Task.held_out`). They publish no
training times, so that prices follow a rule: an hour of these tasks is by definition one training of the space's
mean network at the target. A network's share of that is half its parameters and half its depth, each in units of
the space's mean; a training without distillation costs three quarters of a distilled one, which passes every image
through the teacher as well, a pass taken to be as long as one of the student's three (forward, and twice that
backward); the teacher costs one mean training. The space's mean is over the architectures of the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from nasbench_kd.spaces import residual_networks, vision_transformers
from nasbench_kd.spaces.space import Architecture, SearchSpace
from nasbench_kd.tasks.fidelity import Fidelity
from nasbench_kd.tasks.prerequisites import Prerequisite
from nasbench_kd.tasks.task import Task

UNIT_SECONDS = 3600.0
"""An hour stands for one training of a space's mean network at the target."""
PLAIN_SHARE = 0.75
"""Price of a training without distillation in units of the distilled one."""
TRANSFORMER_TARGET = Fidelity.parse("hint@300 batch=128")
"""Auto-Prox's recipe: 300 epochs, features of three layers by a linear map (`INTER_TRANSFORM: linear`)."""
RESNET_TARGET = Fidelity.parse("kd@240 batch=64")
"""DisWOT's recipe: the released scripts' 240 epochs and batches of 64, logits of the teacher."""
PRICES = (
    "an hour is by definition one training of the space's mean network with its teacher, of which a network's share "
    "goes by its parameters and depth: no times are published"
)
"""The rule in words."""
_DATA = Path(__file__).parent.parent / "tables" / "distilled"
_TEACHER = (
    Prerequisite("teacher", seconds=UNIT_SECONDS, counts="by convention, a training of the mean network"),
)
_Count = Callable[[Architecture, int], int]
_PARAMETERS: Mapping[str, _Count] = MappingProxyType(
    {
        "autoformer": vision_transformers.autoformer_parameters,
        "pit": vision_transformers.pit_parameters,
        "kd-resnet": residual_networks.parameters,
    }
)
_DEPTHS: Mapping[str, Callable[[Architecture], int]] = MappingProxyType(
    {
        "autoformer": vision_transformers.autoformer_depth,
        "pit": vision_transformers.pit_depth,
        "kd-resnet": residual_networks.depth,
    }
)


def _measure(network: Architecture, _fidelity: Fidelity, task: Task) -> Mapping[str, int]:
    return {"parameters": _PARAMETERS[network.space.name](network, task.classes)}


@cache
def prices(task: Task) -> npt.NDArray[np.float64]:
    """Seconds of a training at the target for every architecture, shape (n,), by the rule of this module."""
    name = task.space.name
    sizes = np.array([_PARAMETERS[name](network, task.classes) for network in task.space], dtype=np.float64)
    depths = np.array([_DEPTHS[name](network) for network in task.space], dtype=np.float64)
    shares: npt.NDArray[np.float64] = (sizes / sizes.mean() + depths / depths.mean()) / 2
    return UNIT_SECONDS * shares


def _transformers(space: SearchSpace, images: str, classes: int, train_images: int, tested: int) -> Task:
    return Task(
        f"{space.name}-{images}",
        space,
        classes,
        train_images,
        tested,
        vision_transformers.IMAGE_SIZE,
        TRANSFORMER_TARGET,
        _TEACHER,
        (_DATA / "auto_prox",),
        _measure,
        held_out=False,
        prices=PRICES,
    )


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            *(
                _transformers(space, *images)
                for space in (vision_transformers.AUTOFORMER, vision_transformers.PIT)
                for images in (
                    ("cifar100", 100, 50_000, 10_000),
                    ("flowers", 102, 2_040, 6_149),
                    ("chaoyang", 4, 4_021, 2_139),
                )
            ),
            Task(
                "kd-resnet",
                residual_networks.SPACE,
                100,
                50_000,
                10_000,
                32,
                RESNET_TARGET,
                _TEACHER,
                (_DATA / "diswot",),
                _measure,
                held_out=False,
                prices=PRICES,
            ),
        )
    }
)
"""The tasks by name."""
