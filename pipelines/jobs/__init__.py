"""The jobs: what the scheduler and the command line run over an explicit period."""
