"""The recipes by name. Standard library only: a list of them costs no torch.

A name is its module's, with `-` for `_`: `bn-probe` is `python -m expdb.recipes.bn_probe`.
"""

PROGRAMS = {
    "bn-probe": "what batch normalisation does to two numbers, in training and in evaluation",
    "classify": "image classification: a folder, a CSV, CIFAR-10, Caltech101 or digits",
    "fusion": "a Wide-ResNet whose blocks multiply their two branches, in nine ways",
}
