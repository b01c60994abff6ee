"""From bytes to frames: pure, bounded work for every byte, never an exception. One file for each payload format."""
