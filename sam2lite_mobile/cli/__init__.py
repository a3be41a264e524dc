"""The command line: `sam2lite COMMAND ...`, one thin file per command."""
