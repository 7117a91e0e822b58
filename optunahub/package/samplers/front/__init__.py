"""FrontSampler: the front of a value and a known cost, a sampler of nas."""

from nas import FrontSampler

__all__ = ["FrontSampler"]
