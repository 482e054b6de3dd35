"""Files of rows, text or Parquet, to blocks of columns: one module a format behind `open.open_format`."""
