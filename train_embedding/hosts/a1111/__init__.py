"""The AUTOMATIC1111 WebUI as a host."""
