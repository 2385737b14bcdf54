"""Spin applications: composition with the platform's provider, hosts, manifests."""
