export PATH=/run/current-system/sw/bin:$PATH
