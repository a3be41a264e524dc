"""What an app receives: the manifest, the folder layout, atomic publishing and verification of a package.

Reading order: manifest (the data), declare (where the data comes from), canonical (equal bytes for equal models),
files (the old folder or the new one, never a mix), swift (the SwiftPM layout), publish (all of it), verify.
"""
