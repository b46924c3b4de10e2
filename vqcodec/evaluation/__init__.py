"""Rate and quality of codecs over pictures: measurement, BD-rate, figures."""
