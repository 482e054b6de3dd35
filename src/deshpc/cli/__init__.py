"""The command line: `deshpc train | eval | info | doctor`."""
