"""What nas claims about its speed, each claim a script that reprints it: `make bench`."""
