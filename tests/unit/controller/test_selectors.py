"""Label selectors: Kubernetes' meaning, and the text after `-l`."""

from __future__ import annotations

import pytest

from fleetbus.controller.decisions.selectors import matches, parse_selector, requirements, text
from fleetbus.schemas.documents import LabelSelector
from fleetbus.schemas.errors import DocumentInvalid

PROD = {"env": "prod", "tier": "a"}


@pytest.mark.parametrize(
    ("written", "holds"),
    [
        ("", True),
        ("env=prod", True),
        ("env==prod", True),
        ("env = prod", True),
        ("env=dev", False),
        ("env!=dev", True),
        ("env!=prod", False),
        ("team!=x", True),
        ("env in (dev,prod)", True),
        ("env in (dev, prod),tier=a", True),
        ("env notin (dev)", True),
        ("team notin (x)", True),
        ("env notin (prod)", False),
        ("env", True),
        ("team", False),
        ("!team", True),
        ("!env", False),
        ("env=prod,!team,tier in (a,b)", True),
        ("env=", False),
        ("example.com/env=prod", False),
    ],
)
def test_a_selector_text_means_what_kubectl_means(written: str, holds: bool) -> None:
    assert matches(parse_selector(written), PROD) is holds


@pytest.mark.parametrize(
    "written", ["env=prod,", "=x", "env in prod", "env in (a", "a b", "env=a b", "!", "env>1"]
)
def test_a_malformed_text_is_refused_by_name(written: str) -> None:
    with pytest.raises(DocumentInvalid, match="is no label selector"):
        parse_selector(written)


def test_a_selector_is_written_as_it_is_read() -> None:
    written = "env=prod,tier in (a, b),team!=x,zone notin (a, b),!legacy,gpu"
    assert ",".join(text(one) for one in requirements(parse_selector(written))) == written
    by_key = requirements(LabelSelector(match_labels={"b": "2", "a": "1"}))
    assert [text(one) for one in by_key] == ["a=1", "b=2"]
