"""What everyone may use: errors, files, processes, devices."""
