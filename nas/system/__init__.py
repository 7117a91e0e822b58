"""The machine: files, signals, memory, processes, GPUs."""
