"""What is computed, and when: arithmetic below, the shell (jobs, scheduler, command line) above."""
