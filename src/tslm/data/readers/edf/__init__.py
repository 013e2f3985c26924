"""EDF, EDF+ and BDF files: `header.py` reads the header, `read.py` samples and annotations; `writer.py` writes."""
