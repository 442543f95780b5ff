"""Models, the batches they read, memory, devices and processes."""
