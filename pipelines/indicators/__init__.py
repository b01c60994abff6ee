"""Indicators (指标): what energy and output say of a facility, period by period. `table.py` is the one list."""
