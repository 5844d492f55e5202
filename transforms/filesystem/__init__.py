"""Read, list and commit files: local ones directly, remote ones through Beam's file systems."""
