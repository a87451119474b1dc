"""From records to tables and figures. Reads the files of the trials; needs no server."""
