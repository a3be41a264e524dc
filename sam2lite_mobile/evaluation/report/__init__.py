"""`sam2lite report`: result files as one HTML page that works by itself, offline and on paper."""
