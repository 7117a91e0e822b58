"""Kernels that scikit-learn lacks: of some columns only, of a slope, and of a rung in a column."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel

__all__ = ["Columns", "Linear", "SameRung", "ShortNoise"]

Floats = NDArray[np.float64]


class Columns(Kernel):  # type: ignore[misc]
    """A kernel that sees only the columns from `start` to `stop`."""

    def __init__(self, kernel: Kernel, start: int, stop: int) -> None:
        self.kernel, self.start, self.stop = kernel, start, stop

    @property
    def hyperparameters(self) -> list[Hyperparameter]:
        """The hyperparameters of the inner kernel."""
        return [
            Hyperparameter(f"kernel__{inner.name}", inner.value_type, inner.bounds, inner.n_elements)
            for inner in self.kernel.hyperparameters
        ]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Returns the parameters as scikit-learn's compound kernels do."""
        params = {"kernel": self.kernel, "start": self.start, "stop": self.stop}
        return {**params, **{f"kernel__{k}": v for k, v in self.kernel.get_params().items()}} if deep else params

    @property
    def theta(self) -> Floats:
        """The log hyperparameters of the inner kernel."""
        return np.asarray(self.kernel.theta)

    @theta.setter
    def theta(self, theta: Floats) -> None:
        self.kernel.theta = theta

    @property
    def bounds(self) -> Floats:
        """The bounds of `theta`."""
        return np.asarray(self.kernel.bounds)

    def __call__(self, X: Floats, Y: Floats | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Returns the kernel matrix between X and Y, with its gradient with respect to `theta` if `eval_gradient`."""
        part = slice(self.start, self.stop)
        return self.kernel(X[:, part], None if Y is None else Y[:, part], eval_gradient)

    def diag(self, X: Floats) -> Floats:  # noqa: N803
        """Returns the diagonal of the kernel matrix."""
        return np.asarray(self.kernel.diag(X[:, self.start : self.stop]))

    def is_stationary(self) -> bool:
        """Returns whether only differences between inputs matter."""
        return True


class Linear(Kernel):  # type: ignore[misc]
    """A linear function of column `column` through 0, whose slope has the standard deviation `sd`."""

    def __init__(self, column: int, sd: float) -> None:
        self.column, self.sd = column, sd

    def __call__(self, X: Floats, Y: Floats | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Returns the kernel matrix between X and Y; there are no hyperparameters."""
        products = self.sd**2 * np.outer(X[:, self.column], (X if Y is None else Y)[:, self.column])
        return (products, np.empty((len(X), len(X), 0))) if eval_gradient else products

    def diag(self, X: Floats) -> Floats:  # noqa: N803
        """Returns the diagonal of the kernel matrix."""
        return np.asarray((self.sd * X[:, self.column]) ** 2)

    def is_stationary(self) -> bool:
        """Returns whether only differences between inputs matter."""
        return False


class SameRung(Kernel):  # type: ignore[misc]
    """1 where two inputs have the same rung, an integer in column `column`, else 0: an offset for each length."""

    def __init__(self, column: int) -> None:
        self.column = column

    def __call__(self, X: Floats, Y: Floats | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Returns the kernel matrix between X and Y; there are no hyperparameters."""
        same = (X[:, self.column, None] == (X if Y is None else Y)[None, :, self.column]).astype(float)
        return (same, np.empty((len(X), len(X), 0))) if eval_gradient else same

    def diag(self, X: Floats) -> Floats:  # noqa: N803
        """Returns ones."""
        return np.ones(len(X))

    def is_stationary(self) -> bool:
        """Returns whether only differences between inputs matter."""
        return True


class ShortNoise(Kernel):  # type: ignore[misc]
    """White noise of variance 1 at all rungs, integers in column `column`, except the full one, `full`."""

    def __init__(self, column: int, full: int) -> None:
        self.column, self.full = column, full

    def __call__(self, X: Floats, Y: Floats | None = None, eval_gradient: bool = False) -> Any:  # noqa: N803
        """Returns the kernel matrix between X and Y; there are no hyperparameters."""
        if Y is not None:
            return np.zeros((len(X), len(Y)))
        matrix = np.diag(self.diag(X))
        return (matrix, np.empty((len(X), len(X), 0))) if eval_gradient else matrix

    def diag(self, X: Floats) -> Floats:  # noqa: N803
        """Returns 1 for short trainings, else 0."""
        return np.asarray((X[:, self.column] != self.full).astype(float))

    def is_stationary(self) -> bool:
        """Returns whether only differences between inputs matter."""
        return False
