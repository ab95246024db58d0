"""File trees: written as tars, and tars written into them, in processes that see nothing else of the machine."""
