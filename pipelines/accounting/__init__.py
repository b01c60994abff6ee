"""Energy accounting: readings become steps, steps become energy, and what is odd is booked. Pure."""
