"""The kinds of protection schemes, one file each, which registers itself with ``SCHEMES``."""
