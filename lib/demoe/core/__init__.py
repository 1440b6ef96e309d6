"""What every room uses: names, sizes, stamps, files, pictures."""

__version__ = "0.2.0"
