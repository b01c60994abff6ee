"""Settings of all tests: a property is tried without a stopwatch, for tests say nothing about time."""

from hypothesis import settings

settings.register_profile("peakwatch", deadline=None)
settings.load_profile("peakwatch")
