"""DeMoE, reproduced: one network for camera shake, object motion, low-light blur and defocus."""

__version__ = "0.1.0"
