"""Consistency with a mean teacher (Tarvainen and Valpola, NeurIPS 2017), weighted by confidence."""

import math

import torch

from bpg.distributed import total
from bpg.errors import BPGError
from bpg.losses.inputs import Inputs

_LEAST = 1e-6
"""Probabilities below it count as this: their logarithm stays finite."""


def mean_teacher_loss(inputs: Inputs) -> torch.Tensor:
    """Return the mean over unlabelled pixels of c · H(t, S), H the cross-entropy.

    t are the teacher's probabilities, soft pseudo-labels, and c = 1 - H(t, t) / ln(K + 1) is its
    confidence: 0 where it is uncertain, 1 where it is sure. The gradient flows through S only.
    As a mean, the loss is independent of crop and batch.

    Args:
        inputs: The batch, at full or reduced size, with `teacher`.

    Returns:
        0-d, at least 0; 0 for a batch without an unlabelled pixel.

    Raises:
        BPGError: There is no teacher.
    """
    if inputs.teacher is None:
        raise BPGError("mean_teacher needs a teacher; train.py makes one")
    t = inputs.teacher
    doubt = -(t * t.clamp(min=_LEAST).log()).sum(1)
    confidence = 1 - doubt / math.log(t.shape[1])
    cross_entropy = -(t * inputs.probabilities.clamp(min=_LEAST).log()).sum(1)
    counted = inputs.unlabelled
    return (confidence * cross_entropy * counted).sum() / total(counted.sum()).clamp(min=1)
