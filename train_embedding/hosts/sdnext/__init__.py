"""SD.Next as a host."""
