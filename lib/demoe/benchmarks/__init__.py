"""How fast, how large, and against what: the measurements behind ``demoe bench`` and the numbers of the README."""
