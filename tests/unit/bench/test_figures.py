from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench.figures import Figure, figure, median, percentile, shown, table, write


@pytest.mark.parametrize(
    ("samples", "percent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([4.0, 3.0, 2.0, 1.0], 50, 2.0),
        ([float(one) for one in range(1, 101)], 50, 50.0),
        ([float(one) for one in range(1, 101)], 99, 99.0),
        ([float(one) for one in range(1, 101)], 100, 100.0),
        ([float(one) for one in range(1, 201)], 99, 198.0),
    ],
)
def test_percentile_is_the_nearest_rank(samples: list[float], percent: float, expected: float) -> None:
    assert percentile(samples, percent) == expected


def test_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 50)


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_percentile_needs_a_percentage(percent: float) -> None:
    with pytest.raises(ValueError, match="no percentage"):
        percentile([1.0], percent)


def test_median_of_an_odd_number() -> None:
    assert median([9.0, 1.0, 5.0]) == 5.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (1.5, "1.5"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234.5, "1234"),
        (2.0, "2"),
    ],
)
def test_numbers_are_shown_with_three_digits(value: float, text: str) -> None:
    assert shown(value) == text


def test_a_figure_says_what_it_is_compared_with() -> None:
    found = figure("change, p50", 10.0, "ms", "the other", 20.0, aim="< 12")
    assert found == Figure("change, p50", 10.0, "ms", "the other 20 ms; aim < 12", 0.5)


def test_a_figure_without_a_rival_has_no_ratio() -> None:
    assert figure("help", 100.0, "ms", aim="< 150") == Figure("help", 100.0, "ms", "aim < 150", None)


def test_table_has_columns() -> None:
    lines = table(
        [figure("short", 1.0, "s"), figure("a longer name", 10.0, "ms", "the other", 20.0)]
    ).splitlines()
    assert lines[0].startswith("FIGURE")
    assert lines[1].index("1 s") == lines[2].index("10 ms") == lines[0].index("VALUE")
    assert lines[2].endswith("0.5 ×  the other 20 ms")
    assert all(line == line.rstrip() for line in lines)


def test_the_file_is_a_list_of_figures(tmp_path: Path) -> None:
    file = tmp_path / "build" / "bench.json"
    write([figure("change → seen", 10.0, "ms", "the other", 20.0)], file)
    assert json.loads(file.read_text()) == [
        {
            "name": "change → seen",
            "value": 10.0,
            "unit": "ms",
            "compared_with": "the other 20 ms",
            "ratio": 0.5,
        }
    ]
