"""Run encode-once on an Apache Flink cluster of this machine."""
