"""What `hotlap.data.decode` knows of single formats and of the pixels in them."""
