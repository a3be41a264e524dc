"""Pictures and films: frames in from videos, folders and cameras; masks, overlays and JSON lines out."""
