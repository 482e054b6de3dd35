"""The CUDA backend: the operations of `backend.cpu` that lr and fm need, on one device.  Imported only when it is opened."""
