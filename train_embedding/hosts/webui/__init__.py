"""What the WebUI and its descendants have in common."""
