"""What the loops read of the layers: numbers in memory at an address, laid out as here."""

# Rows of a table of int64, (ROWS, layers). The loops write two: UNDECIDED is 1 where ties go by an index that they do
# not know, NUM_RANKED counts how often a whole layer was ranked.
PARAM, GRAD, THETA, SCORE, MOMENTUM, SIZE, NUM_PRUNED, CHANNELS, PIXELS, PARAMETER, UNDECIDED, NUM_RANKED = range(12)
ROWS = 12
MIDDLE, HALF, CONSTANT, BOUND = range(4)
NUMBERS = 4  # rows of float64, (NUMBERS, layers): last threshold, half its band, packed signs' value, range of a redraw
ABSOLUTE, SCALED, DECAYS, HAS_MOMENTUM = 1, 2, 4, 8  # flags of an update
SIGNED = 2  # flag of a redraw, beside ABSOLUTE

BLOCK = 512  # weights at once: they stay in the first cache of a core, and loads go on beside stores
HISTOGRAM, PLACES, WORDS, BLOCK_WEIGHTS, BAND = (
    0,
    2048,
    2560,
    4096,
    8192,
)  # where these begin in the scratch memory, in bytes
BAND_SHARE, BAND_LEAST = 16, 64  # a band has room for size // BAND_SHARE + BAND_LEAST weights of a layer


def scratch_bytes(largest: int) -> int:
    """Bytes of scratch memory for layers of up to ``largest`` weights."""
    return BAND + 16 * (largest // BAND_SHARE + BAND_LEAST)
