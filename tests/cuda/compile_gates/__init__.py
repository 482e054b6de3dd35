"""What the compiler makes of the CUDA kernels, and what it must not make: no device is needed."""
