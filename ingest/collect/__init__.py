"""Where messages come from and go to: the only place that knows a broker."""
