"""The CUDA backend: the operations of `backend.cpu`, on one device.  Imported only when it is opened."""
