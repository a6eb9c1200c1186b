"""Records as a pandas data frame: every row against the arrays, and what is refused."""

import sys

import numpy as np
import pytest
from test_records import write

from keras_neuronlevel.records import Records, RecordsError

pytest.importorskip("pandas")


@pytest.fixture
def records(tmp_path):
    write(tmp_path / "r.h5")
    with Records(tmp_path / "r.h5") as found:
        yield found


def twin(records, layers, units=None, samples=None):
    """The rows, one at a time."""
    for layer in layers:
        s, places = records.average_sign(layer), records.positions(layer)
        for i in records.sample_index if samples is None else samples:
            n = records.sample_index.tolist().index(i)
            for unit in records.neurons(layer) if units is None else units:
                u = records.neurons(layer).tolist().index(unit)
                for p in range(1 if places is None else len(places)):
                    value = s[n, u] if places is None else s[n, u, p]
                    category = "low" if value > 0 else "high" if value < 0 else "undefined"
                    place = None if places is None else places[p]
                    yield layer, unit, i, place, value, category, records.labels[n]


def check(frame, expected):
    expected = list(expected)
    assert len(frame) == len(expected)
    for row, other in zip(frame.astype(object).itertuples(index=False), expected, strict=True):
        assert (row.layer, row.neuron, row.sample, row.category, row.label) == (*other[:3], *other[5:])
        assert row.average_sign == other[4] or np.isnan([row.average_sign, other[4]]).all()
        assert type(row.position).__name__ == "NAType" if other[3] is None else row.position == other[3]


def test_every_row_is_that_of_the_arrays(records):
    frame = records.to_dataframe()
    check(frame, twin(records, records.layers))
    assert any(records.positions(layer) is not None for layer in records.layers)
    assert (frame["category"][frame["average_sign"].isna()] == "undefined").all()


def test_undefined_pairs(records, monkeypatch):
    layer = records.layers[0]
    s = np.full_like(records.average_sign(layer), np.nan)
    s.flat[:3] = 0, 1, -1
    monkeypatch.setattr(records, "average_sign", lambda layer: s)
    frame = records.to_dataframe([layer])
    check(frame, twin(records, [layer]))
    assert frame["category"].tolist()[:4].count("undefined") == 2


def test_one_sample_and_one_neuron_in_the_order_asked_for(records):
    for layer in records.layers:
        units, samples = records.neurons(layer)[::-1].tolist(), records.sample_index[:1].tolist()
        found = records.to_dataframe([layer], neurons=units, samples=samples)
        check(found, twin(records, [layer], units, samples))


def test_csv_has_every_row(records, tmp_path):
    frame = records.to_dataframe()
    frame.to_csv(tmp_path / "s.csv", index=False)
    assert len((tmp_path / "s.csv").read_text("utf-8").splitlines()) == len(frame) + 1


def test_too_many_rows_are_refused_with_their_number(records):
    rows = sum(records.sign_sum(layer).size for layer in records.layers)
    assert len(records.to_dataframe(max_rows=rows)) == rows
    with pytest.raises(ValueError, match=f"would have {rows} rows.*choose fewer layers"):
        records.to_dataframe(max_rows=rows - 1)


@pytest.mark.parametrize("name", ["neurons", "samples"])
def test_what_was_not_recorded_is_named(name, records):
    with pytest.raises(ValueError, match=rf"{name} \[99999\] were not recorded"):
        records.to_dataframe(**{name: [99999]})
    with pytest.raises(ValueError, match="every one once"):
        records.to_dataframe(**{name: []})


def test_layers_are_those_of_the_file(records):
    with pytest.raises(RecordsError, match="holds no layer 'none'"):
        records.to_dataframe(["none"])
    with pytest.raises(ValueError, match="give a sequence"):
        records.to_dataframe("none")


def test_without_pandas(records, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        records.to_dataframe()


def test_a_sample_that_was_recorded_twice_cannot_be_chosen_by_its_number(records, monkeypatch):
    index = records.sample_index.copy()
    index[1] = index[0]
    monkeypatch.setattr(records, "sample_index", index)
    with pytest.raises(ValueError, match="has some of the samples twice"):
        records.to_dataframe(samples=[int(index[0])])
    assert len(records.to_dataframe(records.layers[:1])) > 0
