"""Envoy: its bootstrap, the resources it is sent, and the server that sends them."""
