"""The study of sound: attacks on the waveform before a keyword spotter's front end, bounded in dB of the signal."""
