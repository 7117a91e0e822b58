"""Any source of images as arrays, split once."""
