"""Known failures, measured: videos that show one each, made of real frames with exact masks, and what is scored."""
