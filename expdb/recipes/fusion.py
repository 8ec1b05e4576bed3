"""Feature map multiplication on Caltech101: a wide ResNet that joins its branches by one row of the table.

    python -m expdb.recipes.fusion --fusion 8 --root data --download
    python -m expdb.recipes.fusion --fusion 8 --data digits --size 16 --depth 10 --width 1 --batch-size 64 --epochs 5

The defaults are the experiments': wide ResNet 16 x 10, 200 epochs, pictures of 64 x 64, no augmentation, an optimiser
that is made anew every epoch.
"""

import argparse
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from expdb.recipes import data, start, training
from expdb.recipes.ranges import real, whole
from expdb.recipes.training import Schedule, Settings
from expdb.recipes.wide_resnet import FUSIONS, WideResNet


def flags() -> argparse.ArgumentParser:
    """All of them, with the experiments' values."""
    rows = "\n".join(
        f"  {number}  {fusion.recorded:.2f}  {fusion.expression}" for number, fusion in enumerate(FUSIONS, 1)
    )
    parser = argparse.ArgumentParser(
        prog="python -m expdb.recipes.fusion",
        description=__doc__,
        epilog="rows, with the accuracy recorded (%, best epoch on test pictures; at the last epoch row 1 had 84.27"
        f" and row 2 55.01):\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("model")
    group.add_argument(
        "--fusion",
        type=int,
        choices=range(1, len(FUSIONS) + 1),
        default=1,
        help="of the table below (default: %(default)s)",
    )
    group.add_argument("--depth", type=whole(1), default=16, help="6 n + 4 (default: %(default)s)")
    group.add_argument("--width", type=whole(1), default=10, help="times 16, 32 and 64 channels (default: %(default)s)")
    group.add_argument(
        "--dropout", type=real(0, below=1), default=0.3, help="between a block's convolutions (default: %(default)s)"
    )
    data.add_data_flags(parser)
    training.add_flags(parser)
    group = parser.add_argument_group("learning rate")
    group.add_argument(
        "--milestones",
        type=whole(0),
        nargs="*",
        default=[60, 120, 160],
        help="epochs after which it falls (default: %(default)s)",
    )
    group.add_argument(
        "--gamma", type=real(0), default=0.2, help="what it is multiplied by then (default: %(default)s)"
    )
    parser.set_defaults(data="caltech101", size=64, epochs=200, batch_size=64, lr=0.1, momentum=0.9, weight_decay=5e-4)
    parser.set_defaults(new_optimiser_each_epoch=True)
    return parser


def optimiser(model: nn.Module, settings: Settings) -> Optimizer:
    """Stochastic gradient descent over all parameters, without Nesterov's step."""
    parameters = list(model.parameters())
    return torch.optim.SGD(
        *(parameters, settings.lr, settings.momentum),
        weight_decay=settings.weight_decay,
        fused=parameters[0].is_cuda,
    )


def schedule(made: Optimizer, milestones: Sequence[int], gamma: float) -> Schedule:
    """Constant, and smaller by gamma from the epoch after each milestone on."""
    return Schedule(MultiStepLR(made, sorted(milestones), gamma))


def main() -> None:
    """Train one row."""
    words = flags().parse_args()
    settings = training.settings_of(words)
    training.prepare(settings)
    loaded = data.load(data.source_of(words))
    fusion = FUSIONS[words.fusion - 1]
    model = WideResNet(words.depth, words.width, words.dropout, len(loaded.classes), fusion, channels=loaded.channels)
    training.train(
        *(model, loaded, settings),
        lambda model: optimiser(model, settings),
        lambda made, _: schedule(made, words.milestones, words.gamma),
        functional.cross_entropy,
        shown=argparse.Namespace(
            **{"expression": fusion.expression, **vars(words)},
            parameters=sum(one.numel() for one in model.parameters()),
        ),
    )


if __name__ == "__main__":
    start(main)
