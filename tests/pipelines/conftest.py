"""Small registries and readings for the tests of the arithmetic."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from ingest.registry import Facility, Registry
from ingest.schema import TIME


def _plant(*meters: dict[str, Any], **facility: Any) -> Registry:
    own = {
        "id": "plant",
        "name": {"zh": "示例", "en": "Sample"},
        "kind": "industrial",
        "division": "440781",
        "industry": "3070",
        "timezone": "Asia/Shanghai",
        "key_energy_user": True,
        **facility,
    }
    defaults = {
        "carrier": "electricity",
        "role": "total",
        "kind": "register",
        "unit": "kWh",
        "period": "15m",
        "valid_from": datetime(2000, 1, 1, tzinfo=UTC).date(),
    }
    one = Facility.model_validate({**own, "meter": [{**defaults, **meter} for meter in meters]})
    return Registry({one.id: one})


def _readings(meter: str, *values: tuple[str, float], unit: str = "kWh", facility: str = "plant") -> pl.DataFrame:
    return pl.DataFrame(
        [(facility, meter, datetime.fromisoformat(time).astimezone(UTC), value, unit) for time, value in values],
        schema={
            "facility": pl.String,
            "meter": pl.String,
            "time": TIME,
            "value": pl.Float64,
            "unit": pl.String,
        },
        orient="row",
    )


@pytest.fixture(scope="session")
def plant() -> Callable[..., Registry]:
    """Build a registry of one facility from its meters; what is not said is the plainest choice."""
    return _plant


@pytest.fixture(scope="session")
def taken() -> Callable[..., pl.DataFrame]:
    """Build readings of one meter from (time, value) pairs."""
    return _readings
