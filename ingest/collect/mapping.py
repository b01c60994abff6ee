"""
How a recorded table maps to meters: a TOML file beside the recording.

    facility = "uci-steel"
    gateway = "replay"
    time = "date"                      # the column of the time
    format = ["%d-%m-%Y %H:%M"]        # tried in this order, where styles are mixed
    timezone = "Asia/Seoul"            # of the times as written
    midnight = "end_of_day"            # a 00:00 row carries the date of the day it ends; default start_of_day

    [[column]]
    name = "Usage_kWh"
    meter = "E-main"
    unit = "kWh"
    scale = 1.0
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from ingest.errors import ConfigurationError, Problem
from ingest.model import Strict
from ingest.registry import problems_of
from ingest.registry.types import Identifier, Line, MeterId, UnitName


def _wanted(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("wanted", "{wanted}", {"wanted": sentence})


def _timezone(name: str) -> str:
    if name not in available_timezones():
        raise _wanted("an IANA time zone, e.g. Asia/Shanghai")
    return name


class Column(Strict):
    """A column with the values of one meter; a value is `scale` times the cell, in `unit`."""

    name: Line
    meter: MeterId
    unit: UnitName
    scale: Annotated[float, Field(allow_inf_nan=False)] = 1.0


def _once(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    # two values of one meter at one time: the second would replace the first
    if len({column.meter for column in columns}) < len(columns):
        raise _wanted("each meter once")
    return columns


class Mapping(Strict):
    """How one recorded table maps to the meters of one facility."""

    facility: Identifier
    gateway: MeterId = "replay"
    time: Line
    format: Annotated[tuple[Line, ...], Field(strict=False, min_length=1)]
    timezone: Annotated[str, AfterValidator(_timezone)]
    midnight: Literal["start_of_day", "end_of_day"] = "start_of_day"
    column: Annotated[tuple[Column, ...], Field(strict=False, min_length=1), AfterValidator(_once)]


def load(file: Path) -> Mapping:
    """
    Read a mapping.

    Raises:
        ConfigurationError: with all problems of the file.
    """
    try:
        return Mapping.model_validate(tomllib.loads(file.read_text("utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError([Problem(str(file), str(error), "a readable TOML file in UTF-8")]) from None
    except ValidationError as error:
        raise ConfigurationError(list(problems_of(error, str(file), model=Mapping))) from None
