"""The standalone web app; `server.serve` starts it."""
