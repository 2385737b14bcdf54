"""build_svc: source in, artifact out, every step told as it happens."""
