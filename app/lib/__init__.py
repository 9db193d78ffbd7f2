"""What every domain stands on; knows nothing of any of them."""
