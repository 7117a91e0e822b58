"""The local machine: files, signals, memory, processes, GPUs."""
