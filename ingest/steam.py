"""
Steam (蒸汽): its heat above the feed water, from pressure and temperature by IAPWS-IF97.

Heat of steam = enthalpy of the steam less enthalpy of the feed water (给水), as the national energy statistics count
heat (热力). It is evaluated once for a meter, from what the registry says of it, never for a reading.
"""

import math

import seuif97

# the national statistics take feed or return water at 20 degrees C where nothing else is known
FEED_WATER_C = 20.0

_CRITICAL_MPA = 22.064
_ATMOSPHERE_MPA = 0.101325
_ENTHALPY, _TEMPERATURE = 4, 1  # the property numbers of seuif97


def saturation(pressure_mpa: float) -> float:
    """Temperature at which water boils; minus infinity above the critical pressure, where it does not. [degrees C]"""
    return float(seuif97.px(pressure_mpa, 1.0, _TEMPERATURE)) if pressure_mpa < _CRITICAL_MPA else -math.inf


def heat(pressure_mpa: float, temperature_c: float | None, feed_water_c: float = FEED_WATER_C) -> float:
    """
    Compute the heat of one kilogram of steam above its feed water.

    Args:
        pressure_mpa: absolute pressure. [MPa]
        temperature_c: temperature; None for dry saturated steam. [degrees C]
        feed_water_c: temperature of the feed or return water, at atmospheric pressure or its own boiling pressure.
            [degrees C]

    Returns:
        Heat. [kJ/kg]

    References:
        IAPWS R7-97(2012), Industrial Formulation 1997 for the properties of water and steam.
    """
    if temperature_c is None:
        steam = seuif97.px(pressure_mpa, 1.0, _ENTHALPY)
    else:
        # a hair above the boiling point is dry steam, not water
        steam = seuif97.pt(pressure_mpa, max(temperature_c, saturation(pressure_mpa) + 1e-6), _ENTHALPY)
    below = feed_water_c < saturation(_ATMOSPHERE_MPA)
    water = seuif97.pt(_ATMOSPHERE_MPA, feed_water_c, _ENTHALPY) if below else seuif97.tx(feed_water_c, 0.0, _ENTHALPY)
    return float(steam - water)
