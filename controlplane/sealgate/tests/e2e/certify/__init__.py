"""The certification matrix: real tools against real stores through a gateway, case by case. `./test certify --help`."""
