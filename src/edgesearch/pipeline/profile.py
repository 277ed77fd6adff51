"""task=profile: what each layer of a finished run costs, as it is, quantised, pruned and both."""

from edgesearch.config import Config
from edgesearch.export.layout import ram_bytes, value_bytes_in_ram
from edgesearch.numerics.operations import Affine, Convolve
from edgesearch.numerics.program import IntegerProgram
from edgesearch.pipeline.program import outcome
from edgesearch.pipeline.variant import Variant, load_variant, needs_program
from edgesearch.report.compression import Layer, Profile, profiles
from edgesearch.report.console import PlainConsole
from edgesearch.report.record import Record


def profile(config: Config) -> Record:
    """Print MACs, parameters, bytes of weights and activations by layer and in all, peak RAM, and test accuracy.

    Columns: the float model, and with the files `config.quantization` and `config.pruning` each alone and both.

    Raises:
        ModelFileError: no finished run there, or a file that is not of its kind.
    """
    plain = load_variant(config, quantization=False, pruning=False)
    needs_program(plain)
    found = [_float_profile(plain), _profile(plain)]
    if config.quantization is not None:
        found.append(_profile(load_variant(config, pruning=False)))
    if config.pruning is not None:
        found.append(_profile(load_variant(config, quantization=False)))
    if config.quantization is not None and config.pruning is not None:
        found.append(_profile(load_variant(config)))
    console = PlainConsole()
    for table in profiles(found):
        console.print(table)
    return plain.record


def _float_profile(variant: Variant) -> Profile:
    """Of the float32 model, by tensor."""
    from edgesearch.budget import FLOAT32, model_size

    size = model_size(variant.spec, FLOAT32)
    layers = [Layer(t.name, 0, t.size, 4 * t.size, 0) for t in variant.spec.tensors() if t.role == "matrix"]
    test, rows = variant.evaluated(on_test=True).accuracy, len(variant.dataset.test)
    return Profile("float32", layers, size.macs, variant.spec.parameters, size.flash_bytes, size.ram_bytes, test, rows)


def _profile(variant: Variant) -> Profile:
    """Of the integer program."""
    program = variant.compiled().program
    test = variant.dataset.test
    accuracy = float((outcome(program, test).answers == test.y).mean())
    label = variant.label.replace("float", "integers, as trained")
    return Profile(
        label,
        _layers(program),
        program.macs,
        variant.spec.parameters,
        program.flash_bytes,
        ram_bytes(program),
        accuracy,
        len(test),
    )


def _layers(program: IntegerProgram) -> list[Layer]:
    """One for each operation with weights."""
    found = []
    for operation in (*program.step, *program.head):
        if isinstance(operation, Affine):
            names = [matrix for matrix, _ in operation.products]
        elif isinstance(operation, Convolve):
            names = [operation.weights]
        else:
            continue
        constants = [program.constants[name] for name in names]
        bias = 0 if operation.bias is None else program.constants[operation.bias].flash_bytes
        found.append(
            Layer(
                " + ".join(names),
                program.operation_macs(operation),
                sum(constant.integers.size for constant in constants),
                sum(constant.flash_bytes for constant in constants) + bias,
                value_bytes_in_ram(program, operation.out),
            )
        )
    return found
