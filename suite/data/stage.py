"""Moved to ``suite.data.imagenet.stage``; this file is removed in the next release."""

if __name__ == "__main__":
    raise SystemExit("python -m suite.data.stage is now python -m suite.data.imagenet.stage")
