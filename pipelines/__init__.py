"""
What is computed, and when: arithmetic below, the shell (jobs, scheduler, command line) above.

Polars has its memory given back half a second after its last use. The shares of a job use the same memory one after the
other, and spent a sixth of their time on asking for it anew; so here it is kept for five seconds. The allocator reads
this once, when Polars is loaded; what the environment says already goes before.
"""

import os

os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:5000")
