"""Models that users bring: torch.nn.LSTM or GRU with a Linear on the last output, as one of our classifiers."""

from torch import nn

from edgesearch.cells.classifier import Classifier
from edgesearch.cells.rnn import GRU, LSTM
from edgesearch.errors import ConfigError


def as_classifier(model: nn.Module) -> Classifier:
    """Return `model` itself if it is a classifier of ours, else its weights in a new one that computes the same.

    Args:
        model: a `Classifier`, or a module that holds one torch.nn.LSTM or torch.nn.GRU and one torch.nn.Linear, which
            is applied to the last output of the last layer. `batch_first` is taken over.

    Raises:
        ConfigError: any other module, or layers that run backwards.
    """
    if isinstance(model, Classifier):
        return model
    leaves = [m for m in model.modules() if not list(m.children()) and not isinstance(m, nn.Dropout)]
    recurrent = [m for m in leaves if isinstance(m, nn.LSTM | nn.GRU)]
    linear = [m for m in leaves if isinstance(m, nn.Linear)]
    others = sorted({type(m).__name__ for m in leaves if m not in (*recurrent, *linear)})
    if others or len(recurrent) != 1 or len(linear) != 1:
        raise ConfigError(
            "a model is an edgesearch classifier, or holds one torch.nn.LSTM or GRU and one Linear, got "
            f"{', '.join(others) or f'{len(recurrent)} recurrent and {len(linear)} linear layers'}; convert it by hand"
        )
    rnn, head = recurrent[0], linear[0]
    if rnn.bidirectional or head.in_features != rnn.hidden_size:
        raise ConfigError("the Linear must take the last output of one direction; use bidirectional=False")
    kind = LSTM if isinstance(rnn, nn.LSTM) else GRU
    ours = kind(
        rnn.input_size,
        rnn.hidden_size,
        num_layers=rnn.num_layers,
        batch_first=rnn.batch_first,
        dtype=head.weight.dtype,
    )
    ours.load_state_dict(rnn.state_dict())
    made = Classifier(ours, head.out_features)
    made.FC.data = head.weight.detach().t().clone()
    made.FCbias.data = head.bias.detach().clone() if head.bias is not None else made.FCbias.detach() * 0
    return made
