"""InfluxDB 1.6 to 2.x as the store."""
