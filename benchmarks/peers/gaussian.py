"""The Gaussian that all programs sample."""

from __future__ import annotations

import numpy as np
from workloads import CORRELATION


def covariance(dim: int) -> np.ndarray:
    index = np.arange(dim)
    return CORRELATION ** np.abs(index[:, None] - index)


def precision(dim: int) -> np.ndarray:
    return np.linalg.inv(covariance(dim)).astype(np.float32)
