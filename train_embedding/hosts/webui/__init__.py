"""Code that all programs of the WebUI's family share."""
