"""Moved to ``suite.data.imagenet.pack``; this file is removed in the next release."""

if __name__ == "__main__":
    raise SystemExit("python -m suite.data.pack is now python -m suite.data.imagenet.pack")
