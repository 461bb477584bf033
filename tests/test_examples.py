"""The examples run, and do what they say."""

from __future__ import annotations

import re

import pytest

from examples import forecast


def test_the_forecaster_keeps_its_density_and_is_pooled(capsys: pytest.CaptureFixture[str]) -> None:
    forecast.main()
    density, recipe, error = capsys.readouterr().out.splitlines()
    before, after = re.findall(r"0\.\d{3}", density)
    assert before == after
    assert re.fullmatch(r"recipe \[\(\d, 0\.\d+\).*\]", recipe)
    ticket, pooled = map(float, re.findall(r"0\.\d{4}", error))
    assert pooled < ticket
