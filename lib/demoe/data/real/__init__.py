"""The real datasets as they lie on people's disks: where, in which layout, how the pictures pair, what is wrong.

``catalog`` describes each one; ``recognition`` recognises and pairs; ``check`` reports; ``pixels`` reads.
"""
