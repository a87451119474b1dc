"""Moved to ``suite.data.imagenet.scan``; this file is removed in the next release."""

if __name__ == "__main__":
    raise SystemExit("python -m suite.data.scan is now python -m suite.data.imagenet.scan")
