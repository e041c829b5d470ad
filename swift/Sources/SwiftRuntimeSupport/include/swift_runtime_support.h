// Nothing to call: see fatal.c.
