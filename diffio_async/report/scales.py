"""Scales that all pictures of a report share, so that they can be compared."""

#: Range of the colours of spectrograms in dB, relative to a sine at full scale. Peaks begin at the
#: same minimum, and end at 0 dBFS.
DB_MIN, DB_MAX = -100.0, -20.0
#: Edges of the mel axis, in hertz.
MIN_HZ, MAX_HZ = 50.0, 16_000.0
#: Colours from the lowest to the highest level, with rising lightness.
COLORS = (
    *("#05060f", "#131640", "#2a1f6b", "#4a2482", "#6d2a86", "#91337f", "#b44270", "#d3575c"),
    *("#ea7446", "#f79a36", "#fbc23f", "#f9ea7d", "#fdfbe0"),
)
#: All of them, by the names of the page's data.
SCALES = {
    "db": {"min": DB_MIN, "max": DB_MAX},
    "frequency": {"scale": "mel", "min": MIN_HZ, "max": MAX_HZ},
    "colors": COLORS,
}
