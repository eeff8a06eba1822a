"""How pictures come and go: folders, and the pipeline that repaints them."""
