"""Waveforms: reading and writing files, waveform -> mel, mel -> waveform."""
