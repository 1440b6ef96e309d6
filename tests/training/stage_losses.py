"""The losses of the two stages (Section 3.4), as ``experiments.runs.criterion`` makes them of an experiment."""

from demoe.training.losses import Criterion, Term, accuracy, cross_entropy, l1

pixel_loss = Criterion([Term("pixel", l1)])


def pixel_and_class_loss(class_weight: float) -> Criterion:
    return Criterion([Term("pixel", l1), Term("class", cross_entropy, class_weight), Term("accuracy", accuracy, 0)])
