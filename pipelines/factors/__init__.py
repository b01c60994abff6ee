"""Factors as dated, sourced data, and what turns them into coal equivalent and CO2."""
