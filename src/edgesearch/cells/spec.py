"""What a model is made of, in closed form: every tensor's name, shape, role and sparsity. No torch here.

A `ModelSpec` is enough to build the classifier, to count its parameters and to price it (`edgesearch.budget`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from edgesearch.config import CellConfig, ScheduleConfig
from edgesearch.errors import ConfigError

Role = Literal["matrix", "bias", "scalar"]


@dataclass(frozen=True)
class CellKind:
    """The facts in which the cells differ.

    Attributes:
        blocks: blocks of H columns in W and in U, in the order of `biases` where there is one bias a block.
        biases: names of the bias vectors of length H.
        scalars: names and initial values of the scalars, stored before their sigmoid.
        states: vectors of length H carried from step to step.
        products: elementwise multiplications per hidden unit and step.
    """

    name: str
    blocks: int
    biases: tuple[str, ...]
    products: int
    scalars: tuple[tuple[str, float], ...] = ()
    states: int = 1


KINDS = {
    kind.name: kind
    for kind in (
        CellKind("fastrnn", 1, ("B",), products=2, scalars=(("alpha", -3.0), ("beta", 3.0))),
        CellKind("fastgrnn", 1, ("Bg", "Bh"), products=3, scalars=(("zeta", 1.0), ("nu", -4.0))),
        CellKind("ugrnn", 2, ("Bg", "Bh"), products=2),
        CellKind("gru", 3, ("Br", "Bg", "Bh"), products=3),
        CellKind("lstm", 4, ("Bi", "Bf", "Bc", "Bo"), products=3, states=2),
    )
}


def biases(kind: CellKind, reset_after: bool) -> tuple[str, ...]:
    """Names of a layer's biases; a GRU that resets after the product has a second candidate bias, `Bhh`."""
    return (*kind.biases, "Bhh") if reset_after else kind.biases


def kept_entries(size: int, sparsity: float) -> int:
    """Entries of `size` that a sparsity in [0, 1) leaves: all but its share, rounded, and at least one."""
    return max(1, size - round(sparsity * size))


@dataclass(frozen=True)
class TensorSpec:
    """One parameter tensor. `sparsity` is the fraction of its entries that training makes zero."""

    name: str
    shape: tuple[int, ...]
    role: Role
    sparsity: float = 0.0

    @property
    def size(self) -> int:
        """Number of entries."""
        product = 1
        for extent in self.shape:
            product *= extent
        return product

    @property
    def nonzeros(self) -> int:
        """Entries kept after training."""
        return kept_entries(self.size, self.sparsity)


@dataclass(frozen=True)
class LayerSpec:
    """One direction of one recurrent layer with `input_size` features in and `hidden_size` units."""

    kind: CellKind
    input_size: int
    hidden_size: int
    wRank: int | None = None
    uRank: int | None = None
    reset_after: bool = False
    wSparsity: float = 0.0
    uSparsity: float = 0.0

    def __post_init__(self) -> None:
        if self.reset_after and self.kind.name != "gru":
            raise ConfigError(
                f"reset_after belongs to the GRU, got reset_after=True for {self.kind.name}; leave it out"
            )
        for name, value in (("input_size", self.input_size), ("hidden_size", self.hidden_size)):
            if value < 1:
                raise ConfigError(f"cell.{name} must be at least 1, got {value}; set cell.{name}=16")
        limits = (("wRank", self.wRank, self.input_size, "D"), ("uRank", self.uRank, self.hidden_size, "H"))
        for name, rank, rows, letter in limits:
            limit = min(rows, self.hidden_size)
            if rank is not None and not 1 <= rank <= limit:
                raise ConfigError(
                    f"cell.{name} must be at least 1 and at most min({letter}, H) = {limit}, got {rank}; "
                    f"set cell.{name}=null for full rank"
                )

    def tensors(self) -> tuple[TensorSpec, ...]:
        """Every tensor of the layer, in the order in which the cell registers its parameters."""
        H = self.hidden_size
        columns = self.kind.blocks * H
        return (
            *_matrix("W", self.input_size, columns, self.wRank, self.wSparsity),
            *_matrix("U", H, columns, self.uRank, self.uSparsity),
            *(TensorSpec(name, (H,), "bias") for name in biases(self.kind, self.reset_after)),
            *(TensorSpec(name, (1, 1), "scalar") for name, _ in self.kind.scalars),
        )


def _matrix(name: str, rows: int, columns: int, rank: int | None, sparsity: float) -> tuple[TensorSpec, ...]:
    if rank is None:
        return (TensorSpec(name, (rows, columns), "matrix", sparsity),)
    return (
        TensorSpec(f"{name}1", (rows, rank), "matrix", sparsity),
        TensorSpec(f"{name}2", (rank, columns), "matrix", sparsity),
    )


class Counted(ABC):
    """Counts of a model's parameters, from its tensors."""

    @abstractmethod
    def tensors(self) -> Iterator[TensorSpec]:
        """Every parameter under its name in the classifier's state_dict."""

    @property
    def parameters(self) -> int:
        """Trainable numbers in all, classifier included."""
        return sum(t.size for t in self.tensors())

    @property
    def nonzeros(self) -> int:
        """Parameters left after sparsification, classifier included."""
        return sum(t.nonzeros for t in self.tensors())


@dataclass(frozen=True)
class ModelSpec(Counted):
    """A classifier: recurrent layers over `steps` frames of `input_size` features, then a dense head."""

    cell: str
    steps: int
    input_size: int
    hidden_size: int
    classes: int
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    wRank: int | None = None
    uRank: int | None = None
    reset_after: bool = False
    gate_nonlinearity: str | None = "sigmoid"
    update_nonlinearity: str = "tanh"
    wSparsity: float = 0.0
    uSparsity: float = 0.0

    def __post_init__(self) -> None:
        if self.cell not in KINDS:
            raise ConfigError(f"cell must be one of {', '.join(KINDS)}, got {self.cell}; set cell=fastgrnn")
        self.layers()

    @property
    def kind(self) -> CellKind:
        """The cell's fixed facts."""
        return KINDS[self.cell]

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def layers(self) -> tuple[LayerSpec, ...]:
        """One entry a layer and direction: layer 0 forward, layer 0 backward, layer 1 forward, ..."""
        specs = []
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.hidden_size * self.directions
            specs += [
                LayerSpec(
                    self.kind, width, self.hidden_size, self.wRank, self.uRank, self.reset_after,
                    self.wSparsity, self.uSparsity,
                )
            ] * self.directions  # fmt: skip
        return tuple(specs)

    def head(self) -> tuple[TensorSpec, ...]:
        """The classifier: FC (H * directions, C) and its bias (C,)."""
        return (
            TensorSpec("FC", (self.hidden_size * self.directions, self.classes), "matrix"),
            TensorSpec("FCbias", (self.classes,), "bias"),
        )

    def tensors(self) -> Iterator[TensorSpec]:
        """Every parameter under its name in the classifier's state_dict."""
        for index, layer in enumerate(self.layers()):
            for t in layer.tensors():
                yield TensorSpec(f"rnn.cells.{index}.{t.name}", t.shape, t.role, t.sparsity)
        yield from self.head()


def model_spec(cell: CellConfig, schedule: ScheduleConfig, *, steps: int, input_size: int, classes: int) -> ModelSpec:
    """Return the spec of the classifier that `cell` and `schedule` describe on data of the given shape.

    Raises:
        ConfigError: a rank above min(D, H).
    """
    default = schedule.sparsity
    return ModelSpec(
        cell=cell.name,
        steps=steps,
        input_size=input_size,
        hidden_size=cell.hidden_size,
        classes=classes,
        num_layers=cell.num_layers,
        bidirectional=cell.bidirectional,
        dropout=cell.dropout,
        wRank=cell.wRank,
        uRank=cell.uRank,
        reset_after=bool(cell.reset_after),
        gate_nonlinearity=cell.gate_nonlinearity,
        update_nonlinearity=cell.update_nonlinearity,
        wSparsity=default if schedule.wSparsity is None else schedule.wSparsity,
        uSparsity=default if schedule.uSparsity is None else schedule.uSparsity,
    )
