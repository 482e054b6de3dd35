"""Where numbers are computed: a folder a device, with the same names of operations; what they share, such as a row's record."""
