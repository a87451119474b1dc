"""Moved to ``analysis.export``; this file is removed in the next release."""

if __name__ == "__main__":
    raise SystemExit("python -m analysis.kept is now python -m analysis.export")
