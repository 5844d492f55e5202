"""Start the engines that encode-once runs on, submit a job to them, and stop what was started."""
