"""initcfg._stream"""
