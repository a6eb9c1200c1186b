"""A records file as a pandas data frame in long form: one row a pair of an activation and a sample."""

import numpy as np

from keras_neuronlevel import checks, tabular
from keras_neuronlevel.statistics import categories

NAMES = ("high", "undefined", "low")  # of the categories -1, 0, 1


def long_form(records, layers, neurons, samples, max_rows):
    """The data frame, see ``Records.to_dataframe``."""
    pandas = tabular.pandas()
    names = records.layers if layers is None else _once("layers", layers)
    rows = _places("samples", samples, records.sample_index, records.path)
    parts = []
    for layer in names:
        where = f"layer {layer!r} of {records.path}"
        columns = _places("neurons", neurons, records.neurons(layer), where)
        parts.append((layer, columns, records.positions(layer)))
    _check_size(len(rows), parts, max_rows)
    frames = [_layer(pandas, records, layer, rows, columns, p) for layer, columns, p in parts]
    frame = pandas.concat(frames, ignore_index=True)
    return frame.assign(layer=pandas.Categorical(frame["layer"], categories=names))


def _once(name, values):
    values = checks.sequence(name, values)
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{name} is {values!r:.60}; give at least one, and every one once")
    return values


def _places(name, chosen, kept, where):
    """The places in ``kept`` of what is chosen, in the order given; all where it is None."""
    if chosen is None:
        return np.arange(len(kept))
    chosen = [checks.whole(name, value) for value in _once(name, chosen)]
    place = {int(value): i for i, value in enumerate(kept)}
    if len(place) < len(kept):
        raise ValueError(
            f"{where} has some of the {name} twice, so they cannot be chosen by number; take all"
        )
    missing = [value for value in chosen if value not in place]
    if missing:
        raise ValueError(f"{name} {missing!s:.60} were not recorded in {where}; give some of those kept")
    return np.array([place[value] for value in chosen])


def _check_size(samples, parts, max_rows):
    most = checks.whole("max_rows", max_rows, least=1)
    rows = sum(samples * len(columns) * (1 if p is None else len(p)) for _, columns, p in parts)
    if rows > most:
        raise ValueError(
            f"the data frame would have {rows} rows, more than max_rows={most}; choose fewer layers, neurons "
            "or samples, or give a larger max_rows"
        )


def _layer(pandas, records, layer, rows, columns, positions):
    s = records.average_sign(layer)[np.ix_(rows, columns)]
    shape = s.shape if s.ndim == 3 else (*s.shape, 1)
    sample, neuron, position = (index.ravel() for index in np.indices(shape))
    place = pandas.array([pandas.NA], "Int64") if positions is None else pandas.array(positions, "Int64")
    labels = records.labels if records.labels.ndim == 1 else pandas.array(list(records.labels), object)
    return pandas.DataFrame(
        {
            "layer": layer,
            "neuron": records.neurons(layer)[columns][neuron],
            "sample": records.sample_index[rows][sample],
            "position": place.take(position),
            "average_sign": s.ravel(),
            "category": pandas.Categorical.from_codes(categories(s).ravel() + 1, NAMES),
            "label": labels[rows[sample]],
        }
    )
