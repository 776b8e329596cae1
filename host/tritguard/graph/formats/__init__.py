"""How a layer's weights lie in flash, one format a file, and what each costs on a core."""
