"""What training costs: time, waiting for data and memory of each phase of a recipe (`sam2lite bench-train`)."""
