"""A training of a few seconds, without any package: logistic regression on points it draws itself."""

import argparse
import math
import random
import time

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.5)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--wait", type=float, default=0.1, help="seconds to rest after each epoch")
args = parser.parse_args()
print(args)

chance = random.Random(args.seed)


def drawn(count: int) -> list[tuple[float, float, int]]:
    """Points of two classes that overlap: x, y, class."""
    classes = [chance.randrange(2) for _ in range(count)]
    return [(chance.gauss(2 * c, 1.2), chance.gauss(c, 1.2), c) for c in classes]


def probability(x: float, y: float) -> float:
    """Of class 1."""
    return 1 / (1 + math.exp(-max(-30, min(30, a * x + b * y + c))))


def measured(points: list[tuple[float, float, int]]) -> tuple[float, float]:
    """Mean loss and accuracy."""
    found = [(probability(x, y), k) for x, y, k in points]
    loss = -sum(math.log(max(1e-9, p if k else 1 - p)) for p, k in found) / len(found)
    return loss, sum((p > 0.5) == bool(k) for p, k in found) / len(found)


train, test = drawn(400), drawn(200)
a = b = c = 0.0
for epoch in range(1, args.epochs + 1):
    chance.shuffle(train)
    for at in range(0, len(train), args.batch_size):
        batch = train[at : at + args.batch_size]
        errors = [(probability(x, y) - k, x, y) for x, y, k in batch]
        a -= args.lr * sum(e * x for e, x, _ in errors) / len(batch)
        b -= args.lr * sum(e * y for e, _, y in errors) / len(batch)
        c -= args.lr * sum(e for e, _, _ in errors) / len(batch)
    time.sleep(args.wait)
    loss, accuracy = measured(train)
    print(f"epoch {epoch}, loss {loss:.4f}, train accuracy {accuracy:.4f}, test accuracy {measured(test)[1]:.4f}")
