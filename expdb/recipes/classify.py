"""Image classification: any model, normalisation, initialisation, optimiser and learning rate on any data set here.

    python -m expdb.recipes.classify --data digits --model resnet18 --width 0.125 --optimiser adam --epochs 5
    python -m expdb.recipes.index animals -o animals.csv
    python -m expdb.recipes.classify --data csv --root animals.csv --model googlenet --size 224 --stored-size 256 \\
        --init trunc_normal --augment report --optimiser adam --epochs 100

Models at width 1 are torchvision's; --width narrows or widens all their layers.
"""

import argparse
import sys
from collections.abc import Sequence

from torch import nn
from torch.optim import Optimizer

from expdb.recipes import RecipeError, data, models, norms, optimisers, orders, start, training
from expdb.recipes.batches import Augment
from expdb.recipes.ranges import real, whole


def flags() -> argparse.ArgumentParser:
    """All of them."""
    parser = argparse.ArgumentParser(
        prog="python -m expdb.recipes.classify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = models.Settings("resnet18", classes=0)
    group = parser.add_argument_group("model")
    group.add_argument("--model", choices=tuple(models.MODELS), default=usual.model, help="(default: %(default)s)")
    group.add_argument(
        "--width",
        type=real(above=0),
        default=usual.width,
        help="channels times this; 0.125 and multiples (default: 1)",
    )
    group.add_argument("--norm", choices=norms.NORMS, help="normalisation (default: none for vgg19, nin and fcnet)")
    group.add_argument(
        "--batch-norm", dest="norm", action="store_const", const="batch", help="the same as --norm batch"
    )
    group.add_argument(
        "--groups", type=whole(1), default=usual.groups, help="of --norm group; divides channels (default: %(default)s)"
    )
    group.add_argument(
        "--init", choices=models.INITS, default=usual.init, help="of weights (default: the library's for the model)"
    )
    group.add_argument(
        "--init-std",
        type=real(above=0),
        default=usual.init_std,
        help="of trunc_normal, cut at 2 of it (default: %(default)s)",
    )
    group.add_argument(
        "--pretrained",
        nargs="?",
        const=models.TORCH_WEIGHTS,
        metavar="FILE",
        help="start from a checkpoint or state; without a FILE from torchvision's ImageNet weights, which it fetches",
    )
    # These are None unless given, so that one which the model does not have is refused, and none shown that it lacks.
    group = parser.add_argument_group("of some models")
    group.add_argument(
        "--stem", choices=models.STEMS, help=_only("stem", f"first layers; auto: small below {models.SMALL_IMAGE}")
    )
    group.add_argument(
        "--dropout", type=real(0, below=1), help=_only("dropout", "share zeroed; default: the model's own")
    )
    group.add_argument("--layers", type=whole(1), help=_only("layers", "affine ones, or units; default 3"))
    group.add_argument("--order", choices=orders.ORDERS, help=_only("order", f"in a unit; default {usual.order}"))
    group.add_argument("--pool", choices=orders.POOLS, help=_only("pool", "default max"))
    group.add_argument(
        "--upsample", type=int, choices=(1, 2, 3), help=_only("upsample", "before the last unit, nearest; default 1")
    )
    data.add_data_flags(parser)
    group = parser.add_argument_group("augmentation")
    group.add_argument(
        "--augment",
        choices=("none", "report"),
        default="none",
        help="report: random resized crop of .08-1 of the area, ratio 3/4-4/3, flip, colour jitter .4"
        " (default: %(default)s)",
    )
    training.add_flags(parser)
    group = parser.add_argument_group("optimiser")
    rates = ", ".join(f"{name} {rate:g}" for name, rate in optimisers.LEARNING_RATES.items())
    group.add_argument(
        "--optimiser",
        choices=optimisers.OPTIMISERS,
        default="momentum",
        help=f"(default: %(default)s); --lr follows where it is not given: {rates}",
    )
    group.add_argument(
        "--variant",
        choices=optimisers.VARIANTS,
        default="torch",
        help="seed: epsilon inside the root, learning rate inside the velocity (default: %(default)s)",
    )
    group.add_argument(
        "--alpha",
        type=real(0, below=1),
        default=0.99,
        help="share of the squares kept by rmsprop (default: %(default)s)",
    )
    group.add_argument(
        "--decay",
        choices=("all", "weights"),
        help="what --weight-decay is on (default: all, for fcnet weights: no bias, no scale)",
    )
    group = parser.add_argument_group("learning rate")
    group.add_argument(
        "--schedule", choices=optimisers.SCHEDULES, default="none", help="one-cycle: --lr is its top (default: none)"
    )
    group.add_argument(
        "--milestones",
        type=whole(0),
        nargs="*",
        default=[30, 60, 90],
        help="epochs after which step makes it smaller (default: 30 60 90)",
    )
    group.add_argument("--gamma", type=real(0), default=0.1, help="what step multiplies it by (default: %(default)s)")
    parser.set_defaults(lr=None, weight_decay=0.0)
    return parser


def _only(option: str, text: str) -> str:
    return f"of {', '.join(models.OPTIONS[option])}: {text}"


def completed(words: argparse.Namespace) -> argparse.Namespace:
    """The flags with what follows from others filled in. RecipeError for what does not go together."""
    for option, names in models.OPTIONS.items():
        given = getattr(words, option)
        if words.model not in names and given is not None:
            raise RecipeError(f"{words.model} has no --{option}; {', '.join(names)} have it")
    if words.optimiser == "nesterov" and words.variant == "torch" and words.momentum == 0:
        raise RecipeError("torch's nesterov wants a --momentum above 0; --optimiser sgd is without")
    filled = argparse.Namespace(**vars(words))
    if words.lr is None:
        filled.lr = optimisers.LEARNING_RATES[words.optimiser]
    filled.norm = words.norm or models.NORMS[words.model]
    filled.decay = words.decay or ("weights" if words.model == "fcnet" else "all")
    return filled


def model_settings(words: argparse.Namespace, loaded: data.Data) -> models.Settings:
    """What makes the model, of the flags and of the data's pictures and classes."""
    given = {option: getattr(words, option) for option in models.OPTIONS if getattr(words, option) is not None}
    return models.Settings(
        model=words.model,
        classes=len(loaded.classes),
        channels=loaded.channels,
        image_size=loaded.size,
        width=words.width,
        norm=words.norm,
        groups=words.groups,
        init=words.init,
        init_std=words.init_std,
        pretrained=words.pretrained,
        **given,
    )


def optimiser(model: nn.Module, words: argparse.Namespace) -> Optimizer:
    """The one that the flags name, over the model's parameters."""
    return optimisers.make_optimiser(
        words.optimiser,
        optimisers.decay_groups(model, words.weight_decay, words.decay),
        words.lr,
        momentum=words.momentum,
        alpha=words.alpha,
        variant=words.variant,
    )


def schedule(made: Optimizer, batches: int, words: argparse.Namespace) -> training.Schedule | None:
    """The one that the flags name; batches: in an epoch."""
    scheduler = optimisers.make_schedule(
        *(words.schedule, made), epochs=words.epochs, batches=batches, milestones=words.milestones, gamma=words.gamma
    )
    if scheduler is None:
        return None
    return training.Schedule(scheduler, "batch" if words.schedule == "one-cycle" else "epoch")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train one classifier. arguments: None for those of the process."""
    words = completed(flags().parse_args(arguments))
    settings = training.settings_of(words)
    training.prepare(settings)
    loaded = data.load(data.source_of(words))
    made = model_settings(words, loaded)
    model = models.build(made)
    models.check_size(model, made)
    if words.pretrained is not None:
        left = models.load_pretrained(model, made)
        print(f"{words.pretrained}: loaded, but for {', '.join(left) or 'nothing'}", file=sys.stderr)
    known = {name: value for name, value in vars(words).items() if name not in models.OPTIONS or value is not None}
    parameters = sum(one.numel() for one in model.parameters())
    try:
        training.train(
            *(model, loaded, settings),
            lambda model: optimiser(model, words),
            lambda made, batches: schedule(made, batches, words),
            models.cross_entropy,
            augment=Augment() if words.augment == "report" else None,
            shown=argparse.Namespace(**known, parameters=parameters),
        )
    except ValueError as error:
        # Torch's word for what batch and instance normalisation cannot do.
        if not str(error).startswith("Expected more than 1"):
            raise
        raise RecipeError(
            f"{error}; the last batch may be of one picture: try another --batch-size or --norm"
        ) from error


if __name__ == "__main__":
    start(main)
