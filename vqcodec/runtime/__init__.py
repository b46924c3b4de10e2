"""Process state that the codec depends on: torch modes, devices, forks."""
