"""Read, list and write files: local files directly, remote files through Beam's file systems."""
