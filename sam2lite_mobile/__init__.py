"""SAM2-Lite mobile: promptable video object segmentation for phones.

Importing this package needs NumPy only; torch, converters and media libraries are imported by the modules that use
them.
"""

__version__ = "0.1.0"
